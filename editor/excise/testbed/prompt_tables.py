"""The prompt tables that ship with the testbed, made from its planted table."""

from __future__ import annotations

import csv
from pathlib import Path

from excise.prompts.prompt import Prompt
from excise.testbed.dataset import ordinary_caption
from excise.testbed.planting import Planted

_ORDINARY_FROM, _JUDGED_FROM = 10**9, 2 * 10**9
ORDINARY, JUDGED = 120, 60

COLUMNS = ("prompt", "image", "mask", "group", "kind")


def _stream(start: int, count: int, taken: set[str]) -> list[Prompt]:
    """Ordinary captions of the stream from ``start`` on, each once and none of ``taken``."""
    found: dict[str, None] = {}
    index = start
    while len(found) < count:
        caption = ordinary_caption(0, index)
        if caption not in taken:
            found.setdefault(caption)
        index += 1
    return [Prompt(caption, kind="ordinary") for caption in found]


def ordinary_prompts(planted: tuple[Planted, ...], count: int = ORDINARY) -> list[Prompt]:
    """Captions from far down the ordinary stream, for contrast and control."""
    return _stream(_ORDINARY_FROM, count, {entry.caption for entry in planted})


def judged_prompts(planted: tuple[Planted, ...], count: int = JUDGED) -> list[Prompt]:
    """Captions from elsewhere in the stream, for usefulness; none of them among `ordinary_prompts`."""
    taken = {entry.caption for entry in planted} | {prompt.text for prompt in ordinary_prompts(planted)}
    return _stream(_JUDGED_FROM, count, taken)


def write_tables(planted: tuple[Planted, ...], folder: Path, images: str = "../images") -> None:
    """Write ``memorized``, ``ladder``, ``never_seen``, ``ordinary`` and ``judged`` CSVs into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)

    def rows(*kinds: str) -> list[dict[str, str]]:
        return [
            {
                "prompt": entry.caption,
                "image": f"{images}/{entry.file}",
                "mask": f"{images}/{entry.mask}" if entry.mask else "",
                "group": entry.group,
                "kind": "template" if entry.kind == "template" else "verbatim",
            }
            for entry in planted
            if entry.kind in kinds
        ]

    plain = {"ordinary": ordinary_prompts(planted), "judged": judged_prompts(planted)}
    tables = {
        "memorized": rows("verbatim", "template"),
        "ladder": rows("ladder"),
        "never_seen": rows("never_seen"),
        **{name: [{"prompt": p.text, "kind": p.kind} for p in prompts] for name, prompts in plain.items()},
    }
    for name, table in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS if "image" in table[0] else ("prompt", "kind"), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
