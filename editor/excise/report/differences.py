"""``excise diff``: what an edit changed, and whether that is what its record says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from excise.checkpoint.compare import Difference
from excise.edits.edit_record import EditRecord
from excise.errors import ExciseError
from excise.report.compared import compare_with_plan
from excise.run.layout import Run
from excise.run.results import read_model


def read_plan(path: Path) -> EditRecord:
    """The record of an edit that a user names.

    Raises:
        ExciseError: no such file, or not a record of an edit.
    """
    try:
        return read_model(path, EditRecord)
    except ExciseError as error:
        raise ExciseError(
            f"{path}: is not the record of an edit ({error}); give the {Run.edit_record.name} of its run"
        ) from error


@dataclass(frozen=True)
class Differences:
    """What differs between two checkpoints, beside what an edit's record names."""

    base: Path
    edited: Path
    record: Path | None
    """The record; None where there is none."""
    found: tuple[Difference, ...]
    faults: tuple[str, ...]
    """What is not as planned."""
    notes: tuple[str, ...] = ()
    """What could not be compared."""

    @property
    def as_planned(self) -> bool:
        """Whether exactly that differs which the record names; without a record, whether nothing does."""
        return not self.faults if self.record else not self.found

    def document(self) -> dict[str, Any]:
        """All of it for programs (``excise diff --json``)."""
        return {
            "base": str(self.base),
            "edited": str(self.edited),
            "record": str(self.record) if self.record else None,
            "as_planned": self.as_planned,
            "faults": self.faults,
            "notes": self.notes,
            "differences": [asdict(difference) for difference in self.found],
        }


def find_differences(base: Path, edited: Path, record: Path | None) -> Differences:
    """Compare two checkpoints, and what differs with what was planned.

    Args:
        base: before the edit: a checkpoint folder, or a single file in the original layout.
        edited: after it, likewise.
        record: the edit's record; None takes the one beside ``edited``, where there is one.

    Raises:
        ExciseError: a folder or record that is not there or cannot be used.
    """
    if record is None and Run(edited.parent).edit_record.is_file():
        record = Run(edited.parent).edit_record
    planned = None if record is None else read_plan(record).tensors
    compared, faults = compare_with_plan(base, edited, record, planned)
    return Differences(base, edited, record, compared.differences, faults, compared.notes)


def show_differences(differences: Differences, console: Console) -> None:
    """Print what differs, a table for each file, and whether it is what was planned."""
    console.print(f"{differences.base} → {differences.edited}", markup=False, highlight=False)
    for file, found in groupby(differences.found, key=lambda difference: difference.file):
        console.print(_table(file, list(found)))
    if not differences.found:
        console.print("no difference")
    for note in differences.notes:
        console.print(note, markup=False)
    if differences.record is None:
        what = "file" if differences.edited.is_file() else "folder"
        console.print(
            f"no {Run.edit_record.name} beside the edited {what}, so nothing says what was planned; name it with --plan"
        )
        return
    for fault in differences.faults:
        console.print(f"[red]not as planned:[/red] {escape(fault)}")
    if not differences.faults:
        console.print(f"exactly what {differences.record} says", markup=False)


def _table(file: str, found: list[Difference]) -> Table:
    """What differs in one file; a name that is too long for its column goes on in the next line, whole."""
    table = Table(
        Column("tensor", overflow="fold"),
        Column("entries changed", justify="right"),
        Column("of", justify="right", no_wrap=True),
        Column("share", justify="right", no_wrap=True),
        title=file,
        box=box.SIMPLE_HEAD,
    )
    for one in found:
        if one.what == "entries":
            numbers = (f"{one.changed:,}", f"{one.entries:,}", f"{one.changed / one.entries:.2%}")
        else:
            numbers = (one.what, "", "")
        table.add_row(Text(one.tensor or "(the file)"), *numbers)
    return table
