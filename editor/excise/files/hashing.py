"""Hashes of files, folders and values. A file is hashed once: when a job starts, and again by who records it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

SETTLED = 2.0
"""Seconds: a file written more recently could change once more without its time of change telling."""

_known: dict[tuple[int, ...], str] = {}


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes; read again only if the file is not the one that was read before.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        state = _state(os.fstat(file.fileno()))
        if state in _known:
            return _known[state]
        found = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    if _state(after) == state and time.time() - after.st_ctime > SETTLED:
        _known[state] = found
    return found


def _state(state: os.stat_result) -> tuple[int, ...]:
    """What is another's if the file was replaced, and new if it was written to."""
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def hash_json(value: Any) -> str:
    """Hex sha256 of a value's JSON; equal values hash equally in every process."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_path(path: Path) -> str:
    """Hex sha256 of a file, or of the names and hashes of a folder's files; hidden ones do not count.

    Raises:
        OSError: there is no such file or folder.
    """
    if not path.is_dir():
        return sha256_file(path)
    inside = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    visible = sorted(name.as_posix() for name in inside if not any(part.startswith(".") for part in name.parts))
    return hash_json({name: hash_path(path / name) for name in visible})
