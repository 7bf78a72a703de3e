"""Copying a file with some of its tensors replaced, compared with the original as it is written.

Every block is read back and compared while it is still at hand, so that a copy and its check cost one pass, and memory
holds one tensor and a few blocks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from excise.checkpoint.tensorfile import DTYPES, Entry, read_entry
from excise.diffusion.patching import Change
from excise.errors import ExciseError

CHUNK, BLOCK = 2**26, 2**21
"""Bytes copied, and bytes compared, at a time."""


def rewrite(
    base: Path,
    place: Path,
    changes: Mapping[str, tuple[Entry, Change]],
    observe: Callable[[str, Tensor, Tensor], None],
    cloned: bool = False,
) -> None:
    """Make ``place`` a copy of ``base`` with the changed tensors in it.

    Args:
        base: the file.
        place: its copy.
        changes: name of a tensor to where it lies and what becomes of it.
        observe: is told the name of each changed tensor, and the weight before and after.
        cloned: ``place`` has the bytes of ``base`` already, and only the changed ones are written.

    Raises:
        ExciseError: a change of shape or dtype; what is read back is not what was to be written.
    """
    with (
        base.open("rb", buffering=0) as source,
        place.open("r+b" if cloned else "w+b", buffering=0) as target,
        ThreadPoolExecutor(1) as pool,
    ):
        checks = []
        for start, stop in _kept([entry for entry, _ in changes.values()], os.fstat(source.fileno()).st_size):
            if not cloned:
                _copy(source.fileno(), target.fileno(), start, stop)
            checks.append(pool.submit(_check_kept, source.fileno(), target.fileno(), start, stop, place))
        for name, (entry, change) in changes.items():
            before = read_entry(base, entry)
            after = change(before)
            data = _bytes(base, name, entry, after)
            _write(target.fileno(), entry.start, memoryview(data))
            if _read(target.fileno(), entry.start, len(data)) != data:
                raise ExciseError(f"{place}: {name}: not what was written; check the disk")
            observe(name, before, after)
        for check in checks:
            check.result()


def _kept(edited: list[Entry], size: int) -> Iterator[tuple[int, int]]:
    """Start and stop of chunks that cover a file of ``size`` bytes but for the edited tensors."""
    start = 0
    for entry in sorted(edited, key=lambda entry: entry.start):
        yield from ((place, min(place + CHUNK, entry.start)) for place in range(start, entry.start, CHUNK))
        start = entry.stop
    yield from ((place, min(place + CHUNK, size)) for place in range(start, size, CHUNK))


def _copy(source: int, target: int, start: int, stop: int) -> None:
    """Copy a range to the same place of another file, within the kernel where it can do that."""
    os.lseek(target, start, os.SEEK_SET)
    while start < stop:
        try:
            count = os.sendfile(target, source, start, stop - start)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK, errno.EOPNOTSUPP):
                raise
            data = _read(source, start, min(BLOCK, stop - start))
            _write(target, start, memoryview(data))
            count = os.lseek(target, len(data), os.SEEK_CUR) - start
        if count == 0:
            raise ExciseError(f"a file became shorter while it was copied, at byte {start}; start again")
        start += count


def _check_kept(source: int, target: int, start: int, stop: int, place: Path) -> None:
    for offset in range(start, stop, BLOCK):
        size = min(BLOCK, stop - offset)
        if _read(source, offset, size) != _read(target, offset, size):
            raise ExciseError(f"{place}: byte {offset} and on: not what was written; check the disk")


def _read(file: int, start: int, size: int) -> bytes:
    data = os.pread(file, size, start)
    while len(data) < size and (more := os.pread(file, size - len(data), start + len(data))):
        data += more
    return data


def _write(file: int, start: int, block: memoryview) -> None:
    done = 0
    while done < len(block):
        done += os.pwrite(file, block[done:], start + done)


def _bytes(path: Path, name: str, entry: Entry, value: Tensor) -> bytes:
    if tuple(value.shape) != entry.shape or value.dtype != DTYPES[entry.dtype]:
        raise ExciseError(
            f"{path}: {name}: {entry.dtype} {entry.shape} in the file, but the edit gives {value.dtype} "
            f"{tuple(value.shape)}; locate again on this checkpoint"
        )
    return value.reshape(-1).view(torch.uint8).numpy().tobytes()
