"""The single file that a folder was converted from, with the edit in it: every other byte is the file's."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from excise.checkpoint.checkpoint import Checkpoint
from excise.checkpoint.exported import Contents, Outgoing, check_layout, header_of
from excise.checkpoint.original import traced
from excise.checkpoint.pieces import Piece
from excise.checkpoint.tensorfile import DTYPES, read_entry, read_header
from excise.errors import ExciseError

SECOND_COPY = "model_ema."
"""Before the names of a second copy of the UNet, which training keeps, and which conversions leave aside."""


@dataclass(frozen=True)
class Edited:
    """A tensor of the original file as an edited folder has it."""

    name: str
    """In the folder."""
    original: Piece
    edited: Piece

    def before(self) -> Tensor:
        """The original in the dtype that it was converted to."""
        return read_entry(self.original.file, self.original.entry).to(DTYPES[self.edited.entry.dtype])

    def blocks(self) -> Iterator[bytes]:
        """The edited tensor; where the dtypes differ, the original with what the edit changed in it.

        Raises:
            ExciseError: the original's dtype has no such numbers.
        """
        if self.original.entry.dtype == self.edited.entry.dtype:
            yield from self.edited.blocks()
            return
        old = read_entry(self.original.file, self.original.entry)
        new = read_entry(self.edited.file, self.edited.entry)
        kept, narrow = old.to(new.dtype) == new, new.to(old.dtype)
        if not bool((kept | (narrow.to(new.dtype) == new)).all()):
            raise ExciseError(
                f"{self.original.file}: {self.name}: is {self.original.entry.dtype} there, and was edited as "
                f"{self.edited.entry.dtype}, whose numbers do not fit; export {self.edited.file.parents[1]} instead"
            )
        yield torch.where(kept, old, narrow).reshape(-1).view(torch.uint8).numpy().tobytes()


def of_original(path: Path, edited: Checkpoint, changed: Collection[str]) -> Contents:
    """The single file that a checkpoint was converted from, with the tensors that were edited since.

    Args:
        path: the file.
        edited: the folder that was made of it, and edited.
        changed: names of the denoiser's tensors that were.

    Raises:
        ExciseError: another architecture; a tensor that is not in the file.
    """
    network = check_layout(edited)["unet"]
    header, places = read_header(path), edited.places(changed)
    parts = traced(header, network)
    tensors = {name: Outgoing(entry.dtype, entry.shape, (Piece(path, entry),)) for name, entry in header.items()}
    for name, ((place, entry), *_) in places.items():
        if name not in parts or parts[name].shape != entry.shape or header[parts[name].name].dtype not in DTYPES:
            raise ExciseError(f"{path}: no tensor for the edited {name}; give the file that the run was made of")
        whole = parts[name].name
        pair = Edited(name, Piece(path, header[whole]), Piece(place, entry))
        tensors[whole] = Outgoing(header[whole].dtype, header[whole].shape, (pair,))
    tensors = {name: tensors[name] for name in sorted(tensors, key=lambda name: header[name].start)}
    with safe_open(path, "np") as content:
        metadata: dict[str, str] = content.metadata() or {}
    copies = [name for name in tensors if name.startswith(SECOND_COPY)]
    stale = sorted(key for key in metadata if "hash" in key)
    if not copies and not stale:
        with path.open("rb") as file:
            return Contents(tensors, file.read(min(entry.start for entry in header.values())))
    notes = []
    if copies:
        notes.append(f"left out: {len(copies)} tensors {SECOND_COPY}*, a second copy of the UNet that was not edited")
    if stale:
        notes.append(f"left out of the file's metadata, since it no longer holds: {', '.join(stale)}")
    tensors = {name: tensor for name, tensor in tensors.items() if name not in copies}
    kept = {key: value for key, value in metadata.items() if key not in stale}
    return Contents(tensors, header_of(tensors, kept), notes)
