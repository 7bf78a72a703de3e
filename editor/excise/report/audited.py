"""An audit for people: the images that look most like trained ones, with what is said of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

SHOWN = 30


def show_audit(document: dict[str, Any], console: Console) -> None:
    """Print a table of the images, those of the highest scores first."""
    table = Table(box=box.SIMPLE_HEAD, title=f"by {document['by']}, the most like a trained image first")
    table.add_column("image", no_wrap=True)
    for name in ("score", "p", "q", ""):
        table.add_column(name, justify="right")
    rows = sorted(document["images"], key=lambda row: -row["score"])
    for row in rows[:SHOWN]:
        member = "trained on" if row["member"] else "not called"
        cells = (Path(row["image"]).name, f"{row['score']:.4g}", f"{row['p']:.3g}", f"{row['q']:.3g}", member)
        table.add_row(*cells, style="bold red" if row["member"] else "")
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"  and {len(rows) - SHOWN} more")
