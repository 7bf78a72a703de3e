"""What differs between two checkpoint folders: files, tensors, and how many of their entries."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from excise.checkpoint.folder import CARD, INDEX, checkpoint_files
from excise.checkpoint.pieces import Piece
from excise.checkpoint.tensorfile import BITS, read_header
from excise.errors import ExciseError
from excise.files.hashing import sha256_file


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in both folders."""

    file: str
    """Name relative to the folder."""
    tensor: str
    """Name of a tensor of the file; empty where the file itself differs."""
    what: str
    """``entries`` where only a tensor's values differ; else what is wrong, in words."""
    changed: int = 0
    """Entries that differ, of ``entries``."""
    entries: int = 0
    not_zero: int = 0
    """Of the entries that differ, those that are not zero now."""


def compare_folders(base: Path, edited: Path, only: Collection[str] | None = None) -> tuple[Difference, ...]:
    """Every difference, by file and then by tensor; safetensors are compared tensor by tensor, other files whole.

    ``only`` leaves out files of other names. What lies in the base's folder and is not of its checkpoint is not
    missed in the other. Memory holds two blocks at a time, whatever the files' size.

    Raises:
        ExciseError: no such folder, or a file that is not safetensors though its name says so.
    """
    for folder in (base, edited):
        if not folder.is_dir():
            raise ExciseError(f"{folder}: no such folder; give two checkpoint folders")
    names = [{file.relative_to(folder).as_posix() for file in _files(folder)} for folder in (base, edited)]
    if only is not None:
        names = [found & set(only) for found in names]
    missing = names[0] - names[1]
    if missing and (base / INDEX).is_file():
        missing &= {CARD, *checkpoint_files(base)}
    found = [Difference(name, "", "is not in the edited folder") for name in missing]
    found += [Difference(name, "", "is not in the base folder") for name in names[1] - names[0]]
    for name in names[0] & names[1]:
        found += compare_files(base / name, edited / name, name)
    return tuple(sorted(found, key=lambda difference: (difference.file, difference.tensor)))


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())


def compare_files(base: Path, edited: Path, name: str) -> Iterator[Difference]:
    """Every difference between two files that are called ``name``."""
    if base.samefile(edited):
        return
    if base.suffix != ".safetensors":
        if base.stat().st_size != edited.stat().st_size or sha256_file(base) != sha256_file(edited):
            yield Difference(name, "", "has other bytes")
        return
    before, after = read_header(base), read_header(edited)
    for tensor in sorted(before.keys() | after.keys()):
        old, new = before.get(tensor), after.get(tensor)
        yield from compare_tensors(
            name, tensor, None if old is None else Piece(base, old), None if new is None else Piece(edited, new)
        )
    first = min(entry.start for entry in before.values()), min(entry.start for entry in after.values())
    if _read(base, 0, first[0]) != _read(edited, 0, first[1]):
        yield Difference(name, "", "has another header")


def compare_tensors(name: str, tensor: str, base: Piece | None, edited: Piece | None) -> Iterator[Difference]:
    """The difference between two tensors, if there is one; ``name`` is that of their file."""
    if base is None or edited is None:
        yield Difference(name, tensor, "was added" if base is None else "is missing")
        return
    if (base.dtype, base.shape) != (edited.dtype, edited.shape):
        yield Difference(name, tensor, f"is {edited.dtype} {edited.shape}, was {base.dtype} {base.shape}")
    elif (counts := _changed(base, edited))[0]:
        yield Difference(name, tensor, "entries", counts[0], math.prod(base.shape), counts[1])


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def _changed(base: Piece, edited: Piece) -> tuple[int, int]:
    """Entries whose bits differ, and of these those that are not all zero; bytes, of numbers that do not fill bytes."""
    width, changed, not_zero = max(1, BITS[base.dtype] // 8), 0, 0
    if base.as_stored and edited.as_stored:
        pairs = zip(base.blocks(), edited.blocks(), strict=True)
    else:
        pairs = zip((base.whole(),), (edited.whole(),), strict=True)
    for pair in pairs:
        if pair[0] != pair[1]:
            a, b = (np.frombuffer(block, dtype=np.uint8).reshape(-1, width) for block in pair)
            differs = (a != b).any(axis=1)
            changed += int(differs.sum())
            not_zero += int(b[differs].any(axis=1).sum())
    return changed, not_zero
