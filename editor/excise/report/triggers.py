"""A search for people: the two-sided table, every prompt that was found, and its pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from excise.detect.drawing import Pictures, save_picture
from excise.detect.searched import SearchRecord
from excise.detect.tables import write_rows
from excise.detect.triggers import Found
from excise.files.writing import write_text
from excise.verdict.models import Usefulness

PICTURES, PAD, SHOWN = "pictures", 2, 24
BASE = "base"
FILES = {
    "the table": "search.md",
    "all of it": "search.json",
    "every prompt found": "triggers.csv",
    "a list for excise init": "memorized.csv",
}


def table_of(record: SearchRecord) -> list[tuple[str, ...]]:
    """The two-sided table, its header first: what was found in each model, and of what use each is."""
    names = list(record.models)
    rows: list[tuple[str, ...]] = [("", *names)]

    def add(label: str, *cells: str) -> None:
        rows.append((label, *cells))

    found = record.models
    add("texts scored", *(f"{found[name].evaluations:,}" for name in names))
    add("prompts found that give one picture at most seeds", *(_of(found[name], "prompts") for name in names))
    add("different pictures", *(_of(found[name], "pictures") for name in names))
    if record.known:
        add(f"known training images, of {len(record.known)}", *(str(len(found[name].known)) for name in names))
    add("random texts that do, of those drawn", *(
        f"{found[name].control_one_picture} of {found[name].control}" for name in names
    ))  # fmt: skip
    if record.still:
        whole = found[BASE].pictures
        add("the base's pictures, asked by the base's prompts", f"{whole} of {whole}", *(
            f"{record.still[name]} of {whole}" for name in names if name != BASE
        ))  # fmt: skip
    for table in next(iter(record.useful.values()), {}):
        cells = [record.useful[name][table] for name in names]
        if any(cell.agreement for cell in cells):
            add(f"caption agreement, {table} prompts", *(_agreement(cell) for cell in cells))
        if any(cell.drift for cell in cells):
            add(f"drift from the base, {table} prompts", *(_drift(cell) for cell in cells))
    return rows


def _of(found: Found, key: str) -> str:
    return f"({getattr(found, key)})" if found.too_alike else str(getattr(found, key))


def _agreement(useful: Usefulness) -> str:
    if useful.agreement is None:
        return "no label"
    rate = f"{100 * useful.agreement.rate:.0f} %"
    if useful.agreement.interval is None:
        return rate
    low, high = useful.agreement.interval
    return f"{rate} [{100 * low:.0f}–{100 * high:.0f}]"


def _drift(useful: Usefulness) -> str:
    return "" if useful.drift is None else f"{useful.drift.value:.2f}"


def notes_of(record: SearchRecord) -> list[str]:
    """What is to be said beside the table, a sentence each."""
    notes = [
        "A search that finds nothing clears nothing: it speaks of so many texts of this length, and of prompts whose "
        "picture is the same at most seeds."
    ]
    if any(found.too_alike for found in record.models.values()):
        notes.append(
            "In brackets: random texts give one picture at most seeds too, so that the rule tells nothing there; lower "
            "--threshold or give --ssim."
        )
    if not record.known:
        notes.append(
            "No training image is known here: one picture at most seeds is what the model draws, not yet a copy."
        )
    for name, found in record.models.items():
        if found.known:
            notes.append(f"Known training images found in the {name}: {', '.join(found.known)}.")
    return notes


def write_search(folder: Path, record: SearchRecord, pictures: Mapping[str, Pictures]) -> None:
    """``search.md``, ``triggers.csv``, ``memorized.csv`` and, of each model that has any, ``found-MODEL.png``."""
    header, *rows = table_of(record)
    lines = [_row(header), _row(("---",) * len(header)), *map(_row, rows)]
    notes = [f"* {note}" for note in notes_of(record)]
    write_text(folder / "search.md", "\n".join([f"# Search of {record.checkpoint}", "", *lines, "", *notes, ""]))
    write_rows(
        folder / "triggers.csv",
        ("model", "score", "one_picture", "picture", "known", "prompt"),
        (
            (name, f"{one.score:.6g}", f"{one.seeds}/{pictures[name].settings.images}",
             f"{PICTURES}/{name}/{one.picture}", one.known, one.prompt)
            for name, found in record.models.items()
            for one in found.triggers
        ),
    )  # fmt: skip
    write_rows(
        folder / "memorized.csv",
        ("prompt", "image", "target"),
        ((one.prompt, f"{PICTURES}/{BASE}/{one.picture}", "self") for one in record.models[BASE].triggers),
    )
    for name, found in record.models.items():
        _draw(folder / f"found-{name}.png", found, pictures[name])


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _draw(path: Path, found: Found, pictures: Pictures) -> None:
    """A picture a row, its seeds in columns; by the prompt of the highest score."""
    first = {one.picture: one.prompt for one in reversed(found.triggers)}
    texts = sorted(first.values(), key=[one.prompt for one in found.triggers].index)[:SHOWN]
    path.unlink(missing_ok=True)
    if texts:
        padded = [torch.nn.functional.pad(pictures.of(text), (PAD,) * 4, value=1.0) for text in texts]
        save_picture(torch.cat([torch.cat(list(images), dim=2) for images in padded], dim=1), path)


def show_search(folder: Path, record: SearchRecord, console: Console) -> None:
    """Print the table, and where everything is."""
    header, *rows = table_of(record)
    table = Table(box=box.SIMPLE_HEAD)
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    for note in notes_of(record):
        console.print(Text(f"  {note}"))
    pictured = {f"pictures of the {name}": f"found-{name}.png" for name in record.models}
    for label, name in (FILES | pictured).items():
        if os.path.exists(folder / name):
            console.print(Text(f"  {label:24}{folder / name}"), soft_wrap=True)
