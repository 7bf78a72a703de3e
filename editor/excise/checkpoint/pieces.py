"""Tensors that lie in other files than where they are asked for: as rows of a larger tensor, transposed, renamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import nn

from excise.checkpoint.tensorfile import DTYPES, Entry, read_entry, read_header
from excise.diffusion.components import loaded_name
from excise.errors import ExciseError

BLOCK = 2**24
"""Bytes read at a time: a multiple of the width of every number."""


@dataclass(frozen=True)
class Piece:
    """Where the bytes of a tensor, or of some of its rows, lie."""

    file: Path
    entry: Entry
    """Dtype, shape and range as they are stored."""
    transposed: bool = False
    """Whether the tensor that is meant has its rows where the stored one has its columns."""
    read_as: str | None = None
    """Dtype of the tensor that is meant, if it is not the stored one's."""

    @property
    def dtype(self) -> str:
        """Of the tensor that is meant."""
        return self.read_as or self.entry.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor that is meant."""
        return self.entry.shape[::-1] if self.transposed else self.entry.shape

    @property
    def as_stored(self) -> bool:
        """Whether its bytes are those of the file, so that they are read block by block."""
        return not self.transposed and self.read_as is None

    def blocks(self) -> Iterator[bytes]:
        """The bytes of the tensor that is meant, in order; as a whole where they are not those of the file."""
        if not self.as_stored:
            stored = read_entry(self.file, self.entry).to(DTYPES[self.dtype])
            turned = stored.T if self.transposed else stored
            yield turned.reshape(-1).view(torch.uint8).numpy().tobytes()
            return
        with self.file.open("rb") as file:
            file.seek(self.entry.start)
            left = self.entry.stop - self.entry.start
            while left:
                if not (block := file.read(min(BLOCK, left))):
                    raise ExciseError(f"{self.file}: became shorter while it was read; start again")
                left -= len(block)
                yield block

    def whole(self) -> bytes:
        """All of its bytes at once."""
        return b"".join(self.blocks())


def rows_of(entry: Entry, first: int, rows: int) -> Entry:
    """Some rows of a tensor."""
    if not entry.shape:
        return entry
    size = (entry.stop - entry.start) // entry.shape[0] if entry.shape[0] else 0
    start = entry.start + first * size
    return Entry(entry.dtype, (rows, *entry.shape[1:]), start, start + rows * size)


def stored_pieces(files: Sequence[Path], network: nn.Module) -> dict[str, Piece]:
    """The tensors of a component's files, by the names under which its network has them today.

    Older checkpoints have other names for some, which the libraries change as they load.
    """
    found = {name: Piece(file, entry) for file in files for name, entry in read_header(file).items()}
    if isinstance(network, ModelMixin):
        network._fix_state_dict_keys_on_load(found)  # attention of autoencoders was named otherwise once
        return found
    return {loaded_name(name, network): piece for name, piece in found.items()}
