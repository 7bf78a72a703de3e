"""Arms without an edit beside the edit, for people: the table in Markdown, JSON and the terminal, and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from excise.detect.drawing import save_picture
from excise.files.writing import write_text
from excise.verdict.mitigated import Arm, Mitigated
from excise.verdict.searched import Estimate

WORDS = {
    "base": "base, as it is",
    "embedding": "base, embedding moved (Wen)",
    "tokens": "base, random tokens",
    "edited": "edited",
    "twin": "twin",
}
HEADER = ("", "replicated", "agreement, ordinary", "drift, ordinary", "calls an image", "of these differentiated")
SHOWN, PAD = 24, 2


def rows_of(found: Mitigated) -> list[tuple[str, ...]]:
    """A row for each arm, in the order of `HEADER`."""
    return [
        (
            WORDS.get(name, name),
            _said(arm.replicated),
            "" if arm.agreement is None else f"{100 * arm.agreement.rate:.0f} %",
            "" if arm.drift is None else f"{arm.drift.value:.2f}",
            f"{arm.calls:.1f}",
            _gradients(arm),
        )
        for name, arm in found.arms.items()
    ]


def _said(rate: Estimate) -> str:
    text = f"{100 * rate.value:.0f} %"
    return text if rate.interval is None else f"{text} [{100 * rate.interval[0]:.0f}–{100 * rate.interval[1]:.0f}]"


def _gradients(arm: Arm) -> str:
    return f"{arm.gradients:.1f} (ordinary {arm.ordinary_gradients:.1f})"


def note_of(found: Mitigated) -> str:
    """What was drawn, and how."""
    return (
        f"{found.memorized} memorized prompts, {found.seeds} seeds; {found.ordinary} ordinary ones, 2 seeds. "
        f"Embeddings are moved to a magnitude of {found.target:.4g} at the first call, at most {found.iterations} "
        "steps; "
        f"{found.tokens} random tokens. The cost of a mitigation is paid for every image, that of an edit once."
    )


def write_mitigated(folder: Path, found: Mitigated, drawn: Mapping[str, Tensor]) -> None:
    """``mitigate.json``, ``mitigate.md``, and ``mitigate.png``: a memorized prompt a row, an arm a column, one seed.

    Args:
        folder: where they go.
        found: the numbers.
        drawn: of each arm float ``(prompts, seeds, 3, height, width)`` in [0, 1].
    """
    write_text(folder / "mitigate.json", found.model_dump_json(indent=1) + "\n")
    lines = [_row(HEADER), _row(("---",) * len(HEADER)), *map(_row, rows_of(found))]
    write_text(
        folder / "mitigate.md",
        "\n".join([f"# Without an edit: {found.checkpoint}", "", *lines, "", note_of(found), ""]),
    )
    columns = [torch.nn.functional.pad(images[:SHOWN, 0], (PAD,) * 4, value=1.0) for images in drawn.values()]
    save_picture(torch.cat([torch.cat(list(column), dim=1) for column in columns], dim=2), folder / "mitigate.png")


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def show_mitigated(folder: Path, found: Mitigated, console: Console) -> None:
    """Print the table, and where everything is."""
    table = Table(box=box.SIMPLE_HEAD)
    for place, name in enumerate(HEADER):
        table.add_column(name, justify="right" if place else "left")
    for row in rows_of(found):
        table.add_row(*row)
    console.print(table)
    console.print(f"  {note_of(found)}")
    for label, name in (("table", "mitigate.md"), ("numbers", "mitigate.json"), ("pictures", "mitigate.png")):
        console.print(f"  {label:24}{folder / name}", soft_wrap=True, highlight=False)
