"""Hashes that are remembered are those of the bytes that are there."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from excise.files import hashing
from excise.files.hashing import sha256_file


def age(path: Path) -> None:
    """Make a file's last change old enough to be remembered (its inode's cannot be set back)."""
    hashing.SETTLED, before = -1.0, hashing.SETTLED
    try:
        sha256_file(path)
    finally:
        hashing.SETTLED = before


def test_a_file_is_read_once_and_again_after_any_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    assert sha256_file(path) == hashlib.sha256(b"before").hexdigest()
    age(path)
    state = path.stat()
    time.sleep(0.02)
    path.write_bytes(b"behind")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a tool does that keeps times
    assert sha256_file(path) == hashlib.sha256(b"behind").hexdigest()
    age(path)
    other = tmp_path / "other"
    other.write_bytes(b"beyond")
    os.replace(other, path)
    assert sha256_file(path) == hashlib.sha256(b"beyond").hexdigest()


def test_what_is_remembered_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"some bytes")
    age(path)
    with path.open("rb") as file:
        mark = hashing._state(os.fstat(file.fileno()))
    hashing._known[mark] = "remembered"
    assert sha256_file(path) == "remembered"
    del hashing._known[mark]
