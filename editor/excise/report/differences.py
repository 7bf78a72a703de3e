"""``excise diff``: what an edit changed, and whether that is what its record says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from excise.checkpoint.compare_single import compare
from excise.checkpoint.pieces import Piece
from excise.edits.edit_record import ChangedTensor, EditRecord
from excise.edits.planned import altered, unplanned
from excise.errors import ExciseError
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
    if record is not None and base.is_file() and edited.is_file() and not Run(record.parent).edited.is_dir():
        raise ExciseError(
            f"{record}: names tensors as diffusers does, and the two files have other names; leave it in the folder of "
            "its run, beside the edited checkpoint"
        )
    compared = compare(base, edited, None if record is None else Run(record.parent).edited)
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
    planned = _among(read_plan(record).tensors, compared.files)
    differing = altered(edited, planned) if edited.is_dir() else _unlike(compared.pieces, planned)
    faults = [*unplanned(differences, planned), *differing]
    for fault in faults:
        console.print(f"[red]not as planned:[/red] {fault}")
    if not faults:
        console.print(f"exactly what {record} says")
    return not faults


def _among(planned: dict[str, ChangedTensor], files: frozenset[str] | None) -> dict[str, ChangedTensor]:
    """What was planned of the files that were compared: a single file holds one copy of the weights."""
    if files is None:
        return planned
    kept = {
        name: {file: copy for file, copy in tensor.copies.items() if file in files} for name, tensor in planned.items()
    }
    return {name: tensor.model_copy(update={"copies": kept[name]}) for name, tensor in planned.items()}


def _unlike(pieces: Mapping[tuple[str, str], Piece], planned: Mapping[str, ChangedTensor]) -> Iterator[str]:
    """Tensors of an edited single file that are not those of the record."""
    for name, tensor in planned.items():
        for file, copy in tensor.copies.items():
            piece = pieces.get((file, name))
            if piece is None:
                yield f"{file}: {name} is not there, though it is said to be changed"
            elif hashlib.sha256(piece.whole()).hexdigest() != copy.after:
                yield f"{file}: {name} does not have the sha256 that is recorded"
