"""``excise diff``: what an edit changed, and whether that is what its record says."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

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


def show_differences(base: Path, edited: Path, record: Path | None, console: Console) -> bool:
    """Print what differs; True if it is exactly what was planned.

    Args:
        base: before the edit: a checkpoint folder, or a single file in the original layout.
        edited: after it, likewise.
        record: the edit's record; None takes the one beside ``edited``, where there is one.
    """
    if record is None and Run(edited.parent).edit_record.is_file():
        record = Run(edited.parent).edit_record
    planned = None if record is None else read_plan(record).tensors
    compared, faults = compare_with_plan(base, edited, record, planned)
    differences = compared.differences
    table = Table("file", "tensor", "entries changed", "of", "share", title=f"{base} → {edited}")
    for found in differences:
        if found.what == "entries":
            share = f"{found.changed / found.entries:.2%}"
            table.add_row(found.file, found.tensor, f"{found.changed:,}", f"{found.entries:,}", share)
        else:
            table.add_row(found.file, found.tensor, found.what, "", "")
    console.print(table)
    for note in compared.notes:
        console.print(note)
    if record is None:
        what = "file" if edited.is_file() else "folder"
        console.print(
            f"no {Run.edit_record.name} beside the edited {what}, so nothing says what was planned; name it with --plan"
        )
        return not differences
    for fault in faults:
        console.print(f"[red]not as planned:[/red] {fault}")
    if not faults:
        console.print(f"exactly what {record} says")
    return not faults
