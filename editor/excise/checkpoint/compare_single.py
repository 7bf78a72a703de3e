"""What differs between two checkpoints of which one is, or both are, a single file in the original layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from excise.checkpoint.checkpoint import Checkpoint
from excise.checkpoint.compare import Difference, compare_files, compare_folders, compare_tensors
from excise.checkpoint.exported import SUFFIX, check_layout
from excise.checkpoint.original import pieces_in, traced
from excise.checkpoint.pieces import Piece, stored_pieces
from excise.checkpoint.tensorfile import DTYPES, read_header
from excise.checkpoint.weights import copies_of
from excise.errors import ExciseError


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what differs."""

    differences: tuple[Difference, ...]
    """By the names of the folder, where one was compared, or named to say whose names these are."""
    pieces: Mapping[tuple[str, str], Piece] = field(default_factory=dict)
    """Where an edited single file has the tensors of a folder, by the folder's file and name."""
    files: frozenset[str] | None = None
    """Files of the folder that were compared; None of two folders, where all are."""
    notes: tuple[str, ...] = ()
    """What could not be compared, a sentence each."""


def compare(base: Path, edited: Path, named_by: Path | None = None) -> Comparison:
    """Every difference between two checkpoints; of a single file and a folder, between the tensors that both may have.

    Args:
        base: a folder in diffusers layout, or a single file.
        edited: likewise.
        named_by: of two single files, the diffusers folder by whose names what differs is called.

    Raises:
        ExciseError: no such file or folder; a folder of another architecture than Stable Diffusion 1, 2 or XL beside a
            single file.
    """
    if base.is_file() and edited.is_file():
        return _two_files(base, edited, named_by)
    if base.is_file() and edited.is_dir():
        return _file_and_folder(base, edited, edited_is_file=False)
    if base.is_dir() and edited.is_file():
        return _file_and_folder(edited, base, edited_is_file=True)
    if base.is_file() or edited.is_file():
        missing = edited if base.is_file() else base
        raise ExciseError(f"{missing}: no such folder or file; give checkpoint folders or single files")
    return Comparison(compare_folders(base, edited))


def _two_files(base: Path, edited: Path, named_by: Path | None) -> Comparison:
    differences = tuple(compare_files(base, edited, edited.name))
    if named_by is None:
        return Comparison(differences)
    header, checkpoint = read_header(edited), Checkpoint.open(named_by)
    network = check_layout(checkpoint)["unet"]
    stored = _closest(checkpoint.denoiser, network, {name: Piece(edited, entry) for name, entry in header.items()})
    places = {
        part.name: (_relative(stored[name], named_by), name)
        for name, part in traced(header, network).items()
        if name in stored
    }
    renamed = (
        replace(found, file=places[found.tensor][0], tensor=places[found.tensor][1])
        if found.tensor in places
        else found
        for found in differences
    )
    pieces = {place: Piece(edited, header[name]) for name, place in places.items()}
    return Comparison(tuple(renamed), pieces, frozenset(file for file, _ in pieces))


def _file_and_folder(path: Path, folder: Path, edited_is_file: bool) -> Comparison:
    checkpoint, header = Checkpoint.open(folder), read_header(path)
    found: list[Difference] = []
    pieces: dict[tuple[str, str], Piece] = {}
    taken: set[str] = set()
    for component, network in check_layout(checkpoint).items():
        single = pieces_in(path, header, network)
        for name, stored in sorted(_closest(folder / component, network, single).items()):
            file, piece = _relative(stored, folder), single.get(name)
            if piece is not None:
                piece = pieces[file, name] = _read_as(piece, stored.dtype)
            found += compare_tensors(file, name, *((stored, piece) if edited_is_file else (piece, stored)))
        taken |= {part.name for part in traced(header, network).values()}
    files = frozenset(file for file, _ in pieces)
    rest = sorted(set(checkpoint.files()) - files, key=lambda name: (not name.endswith(SUFFIX), name))
    notes = [
        f"not compared, since there is nothing like it in {other}: {_listed(names)}"
        for other, names in ((path, rest), (folder, sorted(header.keys() - taken)))
        if names
    ]
    if other := [name for (_, name), piece in pieces.items() if piece.read_as is not None]:
        notes.append(f"compared in the dtype of {folder}, which is not that of {path}: {_listed(other)}")
    return Comparison(tuple(found), pieces if edited_is_file else {}, files, tuple(notes))


def _read_as(piece: Piece, dtype: str) -> Piece:
    """A tensor of a single file in the dtype of the folder, into which it is converted on its way there."""
    plain = piece.dtype in DTYPES and dtype in DTYPES
    return replace(piece, read_as=dtype) if plain and piece.dtype != dtype else piece


def _closest(component: Path, network: nn.Module, like: Mapping[str, Piece]) -> dict[str, Piece]:
    """The tensors of the copy of a component's weights that has a file's dtypes; of the loaded one, if none has."""
    copies = [stored_pieces(files, network) for files in copies_of(component).values()]
    dtypes = {piece.entry.dtype for piece in like.values()}
    same = [copy for copy in copies if {piece.entry.dtype for piece in copy.values()} <= dtypes]
    return (same or copies)[0]


def _relative(piece: Piece, folder: Path) -> str:
    return piece.file.relative_to(folder).as_posix()


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
