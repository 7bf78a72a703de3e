"""An audit for people: tables of the images, those most like trained ones first, JSON, and pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from excise.detect.audited import Audited
from excise.detect.drawing import save_picture
from excise.files.writing import remove, write_json, write_text

SHOWN = 30
"""Images in the terminal, and in the picture."""
LEFT = ("audit.json", "audit.csv", "inversion.png")
"""What an audit leaves in its folder."""
PAD = 2
COLUMNS = ("image", "score", "p", "q", "member")
MORE = ("found", "divergence", "steps", "guidance", "probability", "plain", "distance", "ssim", "text")


def write_audit(folder: Path, found: Audited, images: Sequence[Tensor]) -> None:
    """``audit.json``, ``audit.csv``, and of an inversion ``inversion.png``: an image a row, what was drawn beside it.

    Args:
        folder: is there.
        found: what was found.
        images: of an inversion those asked about, float ``(3, height, width)`` in [0, 1].
    """
    document = found.document()
    write_json(folder / LEFT[0], document)
    table = io.StringIO()
    names = (*COLUMNS, *(MORE if found.inverted else ()))
    writer = csv.DictWriter(table, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: row[name] for name in names} for row in document["images"]])
    write_text(folder / LEFT[1], table.getvalue())
    if not found.inverted:
        remove(folder / LEFT[2])
        return
    order = sorted(range(len(images)), key=lambda place: found.inverted[place].divergence)[:SHOWN]
    rows = []
    for place in order:
        row = torch.cat([images[place][None], found.inverted[place].pictures.float() / 255.0])
        rows.append(torch.cat(list(torch.nn.functional.pad(row, (PAD, PAD, PAD, PAD), value=1.0)), dim=2))
    save_picture(torch.cat(rows, dim=1), folder / LEFT[2])


def show_audit(document: dict[str, Any], console: Console) -> None:
    """Print a table of the images, those of the highest scores first."""
    inverted, certified = document["by"] == "inversion", document["members"] is not None
    table = Table(box=box.SIMPLE_HEAD, title=f"by {document['by']}, the most like a trained image first")
    table.add_column("image", no_wrap=True)
    columns = ("divergence", "steps", "guidance", "drawn", "usual noise", "distance") if inverted else ("score",)
    for name in (*columns, *(("p", "q", "") if certified else ())):
        table.add_column(name, justify="right")
    rows = sorted(document["images"], key=lambda row: (row["score"] is None, -(row["score"] or 0.0)))
    for row in rows[:SHOWN]:
        cells = _found(row) if inverted else (f"{row['score']:.4g}",)
        if certified:
            cells += (f"{row['p']:.3g}", f"{row['q']:.3g}", "trained on" if row["member"] else "not called")
        table.add_row(Path(row["image"]).name, *cells, style="bold red" if row["member"] else "")
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"  and {len(rows) - SHOWN} more")


def _found(row: dict[str, Any]) -> tuple[str, ...]:
    """What is said of an input: divergence, and how often it draws the image, with usual noise too."""
    divergence = f"{row['divergence']:.4g}" if row["found"] else "none found"
    shares = (f"{row['probability']:.0%}", f"{row['plain']:.0%}")
    return divergence, str(row["steps"]), f"{row['guidance']:g}", *shares, f"{row['distance']:.3f}"
