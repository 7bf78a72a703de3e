"""``python -m benchmarks.rows OUT.svg NAME=attack.json ...``: rows of `excise attack` side by side, of several models.

Prints a table of attacks by models in Markdown, shares of images drawn that replicate with their intervals, and draws
what an embedding search brings back over its steps; and in OUT.png, a row of pictures for each model, what there is
after 50.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from safetensors.torch import load_file

from excise.errors import ExciseError
from excise.report.sheet import sheet, spaced
from excise.run.layout import Run

PICTURED = "embedding/caption/50"
"""The attack of which pictures are shown: as many steps as are published."""
Rates = Mapping[str, Mapping[str, Any]]
"""By attack, way and point: what was brought back, as a row has it."""


def read(files: Mapping[str, Path]) -> dict[str, Rates]:
    """By the name that is given for it: the rates of each row.

    Raises:
        ExciseError: rows of other settings or tables, which cannot stand side by side.
    """
    rows, made = {}, set[str]()
    for name, path in files.items():
        row = json.loads(path.read_text(encoding="utf-8"))
        made.add(json.dumps([row["settings"], row["tables"]["memorized"]], sort_keys=True))
        rows[name] = {found["attack"]: found for found in row["brought_back"]}
    if len(made) > 1:
        raise ExciseError("the rows are of other settings or tables: attack all with one recipe and one --prompts")
    return rows


def table(rows: Mapping[str, Rates]) -> str:
    """Attacks by models, in Markdown."""
    attacks = list(dict.fromkeys(attack for row in rows.values() for attack in row))
    lines = [["attack", *rows], ["---"] * (len(rows) + 1)]
    lines += [[attack, *(_cell(row.get(attack)) for row in rows.values())] for attack in attacks]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    value, (low, high) = found["rate"]["value"], found["rate"]["interval"]
    return f"{100 * value:.0f} % [{100 * low:.0f}–{100 * high:.0f}]"


def draw(rows: Mapping[str, Rates], out: Path) -> None:
    """What embedding search from the caption brings back over its steps, a line for each model."""
    figure, axes = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    for name, row in rows.items():
        found = {int(attack.rsplit("/", 1)[1]): one for attack, one in row.items() if attack.startswith("embedding/")}
        rates = np.array([found[step]["rate"]["value"] for step in sorted(found)])
        ends = np.array([found[step]["rate"]["interval"] for step in sorted(found)])
        axes.errorbar(sorted(found), rates, np.abs(ends.T - rates), marker="o", capsize=3, label=name)
    axes.set_xscale("symlog", linthresh=1)
    steps = sorted({int(a.rsplit("/", 1)[1]) for row in rows.values() for a in row if a.startswith("embedding/")})
    axes.set_xticks(steps, [str(step) for step in steps])
    axes.set(xlabel="steps of embedding search", ylabel="images that come back", ylim=(-0.03, 1.03))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(out)
    plt.close(figure)


def show(files: Mapping[str, Path], out: Path) -> None:
    """Pictures at the first seed of some images, a row for each model that was searched as far as that."""
    shown = []
    for name, path in files.items():
        for file in sorted((Run(path.parent).images / PICTURED).glob("*verbatim.safetensors")):
            images = load_file(file)["images"][:, 0].permute(0, 2, 3, 1).numpy()
            shown.append((name.replace(" ", "\n", 1), images[spaced(len(images))]))
    if shown:
        sheet(shown).quantize(256).save(out)  # a third of the bytes, and no difference to the eye


def main() -> None:
    """Read the command line, print, draw."""
    out, *words = sys.argv[1:]
    files = {name: Path(path) for name, _, path in (word.partition("=") for word in words)}
    rows = read(files)
    print(table(rows))
    draw(rows, Path(out))
    show(files, Path(out).with_suffix(".png"))


if __name__ == "__main__":
    main()
