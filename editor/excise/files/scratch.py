"""A temporary folder that the next process removes if its own was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "excise-scratch-"
MARK = ".made-by-excise"
"""A file in the folder, without which it is not taken for ours."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in the system's place for temporary files; those that dead processes of this user left are removed."""
    _remove_abandoned()
    path, handle = _make()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _make() -> tuple[Path, int]:
    """A new folder and the handle that holds it, which the system lets go when the process ends, however it ends."""
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    (path / MARK).touch()
    return path, handle


def _remove_abandoned() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # no folder, or another user's
            continue
        with suppress(BlockingIOError):  # a living process holds it
            if os.fstat(handle).st_uid == os.geteuid() and (path / MARK).is_file():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        os.close(handle)
