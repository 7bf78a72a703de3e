"""``excise export``: the edited checkpoint of a run, or any checkpoint, as one file in the original layout."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from huggingface_hub import parse_hf_uri

from excise.checkpoint import Checkpoint
from excise.checkpoint.export_folder import of_folder
from excise.checkpoint.export_original import Edited, of_original
from excise.checkpoint.exported import Contents, Exported, check_target, write_contents
from excise.checkpoint.folder import INDEX
from excise.edits.edit_record import ChangedTensor
from excise.edits.planned import altered
from excise.errors import ExciseError
from excise.files.hashing import sha256_file
from excise.recipe import hub_address, load_recipe
from excise.run.job_record import JobRecord, load_record
from excise.run.layout import Run
from excise.run.lock import locked
from excise.run.results import read_edit_record, read_verdict
from excise.sources.bring import converted_from


def export_single_file(
    folder: Path, path: Path, base: Path | None = None, variant: str | None = None, overwrite: bool = False
) -> Exported:
    """Write a run's edited checkpoint, or a checkpoint, as one file in the layout of the original Stable Diffusion.

    Of a run whose base came as one file, it is that file with the planned tensors changed. Of any other it is what
    diffusers converts into the same weights, bit for bit.

    Args:
        folder: of a run, or of a checkpoint in diffusers layout.
        path: the file, which appears whole or not at all.
        base: the file that the run's base was converted from, if it is no longer where the recipe says.
        variant: precision variant of a checkpoint's weights; None takes the copy that is loaded.
        overwrite: replace a file that is there.

    Raises:
        ExciseError: neither run nor checkpoint; an architecture without such a layout; an edited folder or a base that
            are not those of the record; a place that cannot be written, or is taken.
    """
    if (folder / INDEX).is_file():
        check_target(path, overwrite, [folder])
        _refuse_base(base, folder)
        return write_contents(of_folder(Checkpoint.open(folder), variant), path)
    run = Run(folder)
    if not run.record.is_file():
        raise ExciseError(f"{folder}: is neither the folder of a run nor a checkpoint in diffusers layout; give one")
    with locked(run):
        record = load_record(run)
        if "edit" not in record.stages or not run.edited.is_dir():
            raise ExciseError(f"{folder}: no edited checkpoint yet; `excise run RECIPE --until edit` makes it")
        edited, planned = Checkpoint.open(run.edited), read_edit_record(run).tensors
        for fault in altered(run.edited, planned):
            raise ExciseError(f"{run.edited}: {fault}; it is not what {run.edit_record} says: run excise run again")
        source = converted_from(record.sources.get("model.path", ""))
        outside = [run.edited, run.brought("path"), run.release]
        if source is None:
            check_target(path, overwrite, outside)
            _refuse_base(base, folder)
            contents = of_folder(edited, variant)
        elif variant is not None:
            raise ExciseError(f"--variant: {folder} was made of a single file, which holds one copy; leave it out")
        else:
            original = _original(run, record, source[0], base)
            check_target(path, overwrite, [*outside, original])
            contents = _of_original(original, source[1], edited, planned)
        done = write_contents(contents, path)
        return replace(done, notes=(*done.notes, _decided(run, record)))


def _refuse_base(base: Path | None, folder: Path) -> None:
    if base is not None:
        raise ExciseError(f"--base: {folder} was not made of a single file, so that {base} says nothing; leave it out")


def _original(run: Run, record: JobRecord, name: str, base: Path | None) -> Path:
    """The single file that a run's base was converted from: named, on the Hub, or where the recipe says."""
    if base is not None:
        return base
    if hub_address(Path(name)):
        from excise.sources.fetch import fetch_file

        fetched = fetch_file(parse_hf_uri(name))
        return fetched.folder / fetched.files[0]
    recipe = run.recipe if run.recipe.is_file() else Path(record.recipe)
    found = load_recipe(recipe).model.path if recipe.is_file() else Path(name)
    if not found.is_file():
        raise ExciseError(f"{found}: the file that {run.folder} was made of is not there; name it with --base")
    return found


def _of_original(path: Path, sha256: str, edited: Checkpoint, planned: Mapping[str, ChangedTensor]) -> Contents:
    """The original with the edit in it, once it is known to be the one that was edited."""
    if not path.is_file() or sha256_file(path) != sha256:
        raise ExciseError(f"{path}: is not the file that the run was made of (sha256 {sha256}); name it with --base")
    contents = of_original(path, edited, planned)
    for piece in (piece for one in contents.tensors.values() for piece in one.pieces if isinstance(piece, Edited)):
        if {copy.before for copy in planned[piece.name].copies.values()} != {_sha256(piece.before())}:
            raise ExciseError(
                f"{path}: {piece.name} is not what the edit's record says was edited; run excise run again"
            )
    return contents


def _sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def _decided(run: Run, record: JobRecord) -> str:
    """What the verdict says of the edit."""
    if "validate" not in record.stages or not run.verdict.is_file():
        return "no verdict: nothing was measured of this edit yet"
    verdict = read_verdict(run)
    if verdict.accepted:
        return "the verdict accepts this edit"
    return f"the verdict refuses this edit: {'; '.join(verdict.reasons)}"
