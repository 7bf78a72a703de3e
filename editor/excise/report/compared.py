"""Two checkpoints compared, of which each may be a single file, and what differs held against the record of an edit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from excise.checkpoint.compare_single import Comparison, compare
from excise.checkpoint.pieces import Piece
from excise.edits.edit_record import ChangedTensor
from excise.edits.planned import altered, unplanned
from excise.errors import ExciseError
from excise.run.layout import Run


def compare_with_plan(
    base: Path, edited: Path, record: Path | None, planned: Mapping[str, ChangedTensor] | None
) -> tuple[Comparison, tuple[str, ...]]:
    """What differs, and what of it is not as planned, a sentence each.

    Args:
        base: before the edit: a checkpoint folder, or a single file in the original layout.
        edited: after it, likewise.
        record: file of the edit's record, in its run's folder; None where there is none.
        planned: what it says; None where there is none.

    Raises:
        ExciseError: as `excise.checkpoint.compare_single.compare`; of two single files, a record outside its run.
    """
    if record is None or planned is None:
        return compare(base, edited), ()
    if base.is_file() and edited.is_file() and not Run(record.parent).edited.is_dir():
        raise ExciseError(
            f"{record}: names tensors as diffusers does, and the two files have other names; leave it in the folder of "
            "its run, beside the edited checkpoint"
        )
    compared = compare(base, edited, Run(record.parent).edited)
    among = _among(planned, compared.files)
    differing = altered(edited, among) if edited.is_dir() else _unlike(compared.pieces, among)
    return compared, (*unplanned(compared.differences, among), *differing)


def _among(planned: Mapping[str, ChangedTensor], files: frozenset[str] | None) -> Mapping[str, ChangedTensor]:
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
