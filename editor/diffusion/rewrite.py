"""Copying a file with some of its tensors replaced, compared with the original as it is written.

Every block is read back and compared while it is still at hand, so that a copy and its check cost one pass, and memory
holds one tensor and a few blocks.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from editor.diffusion.tensorfile import DTYPES, Entry, read_entry
from editor.errors import ExciseError

Edit = Callable[[Tensor], Tensor]
"""Maps a weight to the edited weight, of the same shape and dtype; called once for each copy of the weights."""
BLOCK = 2**21
THREADS = 2


def rewrite(base: Path, place: Path, edits: Mapping[str, tuple[Entry, Edit]], cloned: bool = False) -> None:
    """Make ``place`` a copy of ``base`` with the edited tensors in it.

    Args:
        base: the file.
        place: its copy.
        edits: name of a tensor to where it lies and what becomes of it.
        cloned: ``place`` has the bytes of ``base`` already, and only the edited ones are written.

    Raises:
        ExciseError: an edit changes shape or dtype; what is read back is not what was to be written.
    """
    with (
        base.open("rb", buffering=0) as source,
        place.open("r+b" if cloned else "w+b", buffering=0) as target,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        copy = _Copy(source.fileno(), target.fileno(), place, cloned)
        entries = [entry for entry, _ in edits.values()]
        for _ in pool.map(copy.keep, *zip(*_kept(entries, os.fstat(source.fileno()).st_size), strict=True)):
            pass
        for name, (entry, edit) in edits.items():
            copy.put(entry.start, _bytes(base, name, entry, edit(read_entry(base, entry))))


def _kept(edited: list[Entry], size: int) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks that cover a file of ``size`` bytes but for the edited tensors; at least one."""
    start = 0
    for entry in sorted(edited, key=lambda entry: entry.start):
        yield from ((place, min(place + BLOCK, entry.start)) for place in range(start, entry.start, BLOCK))
        start = entry.stop
    yield from ((place, min(place + BLOCK, size)) for place in range(start, size, BLOCK))
    yield size, size


class _Buffers(threading.local):
    """Two blocks for each thread."""

    def __init__(self) -> None:
        self.given, self.found = bytearray(BLOCK), bytearray(BLOCK)


class _Copy:
    """Two open files."""

    def __init__(self, source: int, target: int, place: Path, cloned: bool) -> None:
        self._source, self._target, self._place, self._cloned = source, target, place, cloned
        self._buffers = _Buffers()

    def keep(self, start: int, stop: int) -> None:
        """Copy a block as it is."""
        given = memoryview(self._buffers.given)[: stop - start]
        _fill(self._source, start, given)
        if not self._cloned:
            _write(self._target, start, given)
        self._check(start, self._buffers.given if len(given) == BLOCK else self._buffers.given[: len(given)])

    def put(self, start: int, data: bytes) -> None:
        """Write other bytes."""
        _write(self._target, start, memoryview(data))
        for place in range(0, len(data), BLOCK):
            self._check(start + place, data[place : place + BLOCK])

    def _check(self, start: int, expected: bytes | bytearray) -> None:
        """Read back what stands there."""
        found = self._buffers.found
        _fill(self._target, start, memoryview(found)[: len(expected)])
        if (found if len(expected) == BLOCK else found[: len(expected)]) != expected:
            raise ExciseError(f"{self._place}: byte {start} and on: not what was written; check the disk")


def _fill(file: int, place: int, block: memoryview) -> None:
    done = 0
    while done < len(block):
        count = os.preadv(file, [block[done:]], place + done)
        if count == 0:
            raise ExciseError(f"a file became shorter while it was copied, at byte {place + done}; start again")
        done += count


def _write(file: int, place: int, block: memoryview) -> None:
    done = 0
    while done < len(block):
        done += os.pwrite(file, block[done:], place + done)


def _bytes(path: Path, name: str, entry: Entry, value: Tensor) -> bytes:
    if tuple(value.shape) != entry.shape or value.dtype != DTYPES[entry.dtype]:
        raise ExciseError(
            f"{path}: {name}: {entry.dtype} {entry.shape} in the file, but the edit gives {value.dtype} "
            f"{tuple(value.shape)}; locate again on this checkpoint"
        )
    return value.reshape(-1).view(torch.uint8).numpy().tobytes()
