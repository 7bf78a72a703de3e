"""One job at a time on a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from excise.errors import ExciseError
from excise.run.layout import Run


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Make the folder and hold it for this job alone; the system lets go when the process ends, however it ends.

    Raises:
        ExciseError: the folder cannot be written, or another job holds it.
    """
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        file = run.lock.open("w")
    except OSError as error:
        message = f"{run.folder}: cannot be written ({error.strerror}); choose another folder with --out"
        raise ExciseError(message) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExciseError(
                f"{run.folder}: another job runs on this folder; wait for it or choose another --out"
            ) from error
        yield
