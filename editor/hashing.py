"""Hashes of files, taken once: a checkpoint is hashed when a job starts, and again by the stages that record it."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

SETTLED = 2.0
"""Seconds: a file written more recently could change once more without its time of change telling."""

_known: dict[tuple[int, ...], str] = {}


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes; read again only if the file is not the one that was read before.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        mark = _mark(os.fstat(file.fileno()))
        if mark in _known:
            return _known[mark]
        found = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    if _mark(after) == mark and time.time() - after.st_ctime > SETTLED:
        _known[mark] = found
    return found


def _mark(state: os.stat_result) -> tuple[int, ...]:
    """What is another's if the file was replaced, and new if it was written to."""
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
