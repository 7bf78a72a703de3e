"""Copying a file with some of its tensors replaced, compared with the original as it is written.

Every block is read back and compared before the next is written, so that a copy and its check cost one pass, and
memory holds one tensor and a few blocks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from editor.diffusion.tensorfile import DTYPES, Entry, read_entry
from editor.errors import ExciseError

Edit = Callable[[Tensor], Tensor]
"""Maps a weight to the edited weight, of the same shape and dtype; called once for each copy of the weights."""
BLOCK = 2**21


def rewrite(base: Path, place: Path, edits: Mapping[str, tuple[Entry, Edit]], cloned: bool = False) -> str | None:
    """Make ``place`` a copy of ``base`` with the edited tensors in it.

    Args:
        base: the file.
        place: its copy.
        edits: name of a tensor to where it lies and what becomes of it.
        cloned: ``place`` has the bytes of ``base`` already, and only the edited ones are written.

    Returns:
        Hex sha256 of the copy; None without edits, when its bytes are those of ``base``.

    Raises:
        ExciseError: an edit changes shape or dtype; what was written is not what is read back.
    """
    with (
        base.open("rb", buffering=0) as source,
        place.open("r+b" if cloned else "w+b", buffering=0) as target,
        ThreadPoolExecutor(1) as pool,
    ):
        copy = _Copy(source.fileno(), target.fileno(), place, pool if edits else None, cloned)
        position = 0
        for name, (entry, edit) in sorted(edits.items(), key=lambda item: item[1][0].start):
            copy.keep(position, entry.start)
            copy.put(entry.start, _bytes(base, name, entry, edit(read_entry(base, entry))))
            position = entry.stop
        copy.keep(position, os.fstat(source.fileno()).st_size)
        return copy.digest()


class _Copy:
    """Two open files; what is read back from the second is hashed by another thread."""

    def __init__(self, source: int, target: int, place: Path, pool: ThreadPoolExecutor | None, cloned: bool) -> None:
        self._source, self._target, self._place, self._pool, self._cloned = source, target, place, pool, cloned
        self._sha256 = hashlib.sha256()
        self._turns: list[tuple[bytearray, Future[None] | None]] = [(bytearray(BLOCK), None) for _ in range(3)]
        self._block = bytearray(BLOCK)

    def keep(self, start: int, stop: int) -> None:
        """Copy a range as it is."""
        for place in range(start, stop, BLOCK):
            size = min(BLOCK, stop - place)
            block = memoryview(self._block)[:size]
            _fill(self._source, place, block)
            if not self._cloned:
                _write(self._target, place, block)
            self._check(place, self._block if size == BLOCK else self._block[:size])

    def put(self, start: int, data: bytes) -> None:
        """Write other bytes."""
        _write(self._target, start, memoryview(data))
        for place in range(0, len(data), BLOCK):
            self._check(start + place, data[place : place + BLOCK])

    def _check(self, place: int, expected: bytes | bytearray) -> None:
        """Read back what stands at ``place``, compare it, and have it hashed."""
        buffer, busy = self._turns.pop(0)
        if busy:
            busy.result()
        back = memoryview(buffer)[: len(expected)]
        _fill(self._target, place, back)
        if (buffer if len(expected) == BLOCK else buffer[: len(expected)]) != expected:
            raise ExciseError(f"{self._place}: byte {place} and on: not what was written; check the disk")
        self._turns.append((buffer, self._pool.submit(self._sha256.update, back) if self._pool else None))

    def digest(self) -> str | None:
        """Hex sha256 of all that was checked, in order."""
        for _, busy in self._turns:
            if busy:
                busy.result()
        return self._sha256.hexdigest() if self._pool else None


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
