"""A scan for people: the highest scores in the terminal, a histogram, and the pictures of the top."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from excise.detect.decisions import Decided
from excise.detect.drawing import Pictures, save_picture
from excise.detect.record import read_record
from excise.detect.settings import ScanSettings
from excise.errors import ExciseError
from excise.report.figures import CONTROL, EDITED, STYLE
from excise.run.layout import Run

SHOWN = 16
"""Captions in the terminal and in the picture of the top."""
PAD = 2
TAKEN = 58
"""Width of the columns before the captions."""


def write_pictures(folder: Path, pictures: Pictures, decided: Decided, settings: ScanSettings) -> None:
    """``histogram.svg`` and ``top.png`` (a caption a row, a seed a column)."""
    histogram(folder / "histogram.svg", decided, settings)
    rows = [pictures.of(row.caption.text) for row in decided.top[: min(SHOWN, settings.drawn)]]
    padded = [torch.nn.functional.pad(images, (PAD, PAD, PAD, PAD), value=1.0) for images in rows]
    save_picture(torch.cat([torch.cat(list(images), dim=2) for images in padded], dim=1), folder / "top.png")


def histogram(path: Path, decided: Decided, settings: ScanSettings) -> None:
    """Scores of the table's captions and of ordinary ones, as shares, with the lowest that is called memorized."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        axes = figure.add_subplot()
        null = decided.null.values
        for values, weights, label, colour in (
            (decided.edges[:-1], decided.histogram / decided.count, f"{decided.count:,} captions", EDITED),
            (null, [1 / null.size] * null.size, f"{null.size:,} ordinary captions", CONTROL),
        ):
            axes.hist(
                values,
                decided.edges.tolist(),
                weights=weights,
                histtype="step",
                label=label,
                color=colour,
                linewidth=1.4,
            )
        if decided.threshold is not None:
            axes.axvline(
                decided.threshold, color="#555", linestyle="--", linewidth=1, label="called memorized from here"
            )
        axes.set_yscale("log")
        axes.set_xlabel(settings.scoring.scores[0].replace("_", "-"))
        axes.set_ylabel("share of captions")
        axes.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})


def show_scan(folder: Path, console: Console) -> None:
    """Print the highest scores and where everything is.

    Raises:
        ExciseError: no finished scan is there.
    """
    record = read_record(folder / "scan.json")
    if record is None or not record.found:
        raise ExciseError(f"{folder}: holds no finished scan; run excise scan again")
    found = record.found
    table = Table(box=box.SIMPLE_HEAD, title=f"{found['captions']:,} captions by {found['scores'][0]}, highest first")
    for name, justify in (("", "right"), ("score", "right"), ("p", "right"), ("q", "right"), ("one picture", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("caption", no_wrap=True)
    room = max(20, console.width - TAKEN)
    with (folder / "top.csv").open(encoding="utf-8", newline="") as file:
        for row, _ in zip(csv.DictReader(file), range(SHOWN), strict=False):
            style = "bold red" if row["decision"] == "memorized" else ""
            score = f"{float(row[found['scores'][0]]):.4g}"
            cells = (row["rank"], score, row["p"], row["q"], row["one_picture"], row["prompt"])
            shown = cells[-1] if len(cells[-1]) <= room else f"{cells[-1][: room - 1]}…"
            table.add_row(*(Text(cell) for cell in (*cells[:-1], shown)), style=style)
    console.print(table)
    console.print(
        Text(f"  {found['memorized']:,} called memorized (red), at a false discovery rate of {found['rate']:g}")
    )
    for label, name in (
        ("every score", "scores.parquet"),
        ("the highest", "top.csv"),
        ("histogram", "histogram.svg"),
        ("pictures", "top.png"),
        ("memorized", "memorized.csv"),
        ("recipe", Run.recipe.name),
    ):
        if (folder / name).exists():
            console.print(Text(f"  {label:24}{folder / name}"), soft_wrap=True)
