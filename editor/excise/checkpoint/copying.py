"""Copying a checkpoint with some of its tensors changed: every other byte is the base's.

An edit keeps names, shapes and dtypes, so a file is copied with other bytes in the edited tensors' ranges: header and
every other tensor keep their bits, and memory holds one tensor at a time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from torch import Tensor

from excise.checkpoint.checkpoint import Checkpoint
from excise.checkpoint.rewrite import rewrite
from excise.checkpoint.tensorfile import Entry
from excise.diffusion.patching import Change
from excise.errors import NO_ROOM, ExciseError
from excise.files.writing import put_folder, unfinished_folder

FICLONE = 0x40049409
"""Request to a file system to clone a file (linux/fs.h)."""


Observe = Callable[[str, str, Tensor, Tensor], None]
"""Is told of each changed tensor: name of its file in the folder, its own, the weight before and after."""


def copy_with_changes(base: Checkpoint, target: Path, changes: Mapping[str, Change], observe: Observe) -> None:
    """Copy a checkpoint folder, changing the named tensors of the denoiser in every copy of its weights.

    Made in a hidden folder beside ``target``, checked against the base byte for byte, and renamed at the end; a
    ``target`` that was there before is replaced. Files are clones of the base's, where the file system can; else
    weights without a changed tensor are hard links, where it can, and all others copies.

    Args:
        base: what is copied.
        target: the new folder.
        changes: name of a tensor to what becomes of it; called once for each copy of the weights.
        observe: called from several threads, one tensor at a time in each.

    Raises:
        ExciseError: disk full, folder not writable, a tensor missing, a change of shape or dtype, or a file that
            differs from the base in anything but the named tensors.
    """
    places = base.places(changes)
    changed: dict[Path, dict[str, tuple[Entry, Change]]] = {}
    for name, change in changes.items():
        for file, entry in places[name]:
            changed.setdefault(file, {})[name] = entry, change

    def copy(file: Path) -> None:
        name = file.relative_to(base.folder).as_posix()
        _copy(file, unfinished / name, changed.get(file, {}), partial(observe, name))

    with _writing(target) as unfinished:
        files = sorted((base.folder / name for name in base.files()), key=lambda file: -file.stat().st_size)
        with ThreadPoolExecutor(2) as pool:
            for _ in pool.map(copy, files):
                pass
        put_folder(unfinished, target)


@contextmanager
def _writing(target: Path) -> Iterator[Path]:
    """An empty place for the folder, which does not outlast an error; one of the disk's is explained."""
    unfinished = unfinished_folder(target)
    try:
        yield unfinished
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        advice = "free some space, or choose" if error.errno in NO_ROOM else "make it writable, or choose"
        raise ExciseError(
            f"{target.parent}: the edited checkpoint cannot be written ({error.strerror}); {advice} another --out"
        ) from error


def copy_files(base: Path, target: Path, names: Iterable[str]) -> None:
    """Files of a folder in another, as in `copy_with_changes`; no name leads out of either."""
    for name in names:
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            raise ExciseError(f"{base}: {name!r} leads out of the folder; such a checkpoint is refused")
        _copy(base / name, target / name, {}, _unobserved)


def _unobserved(_name: str, _before: Tensor, _after: Tensor) -> None:
    """Of a copy without changes."""


def _copy(
    file: Path,
    place: Path,
    changes: Mapping[str, tuple[Entry, Change]],
    observe: Callable[[str, Tensor, Tensor], None],
) -> None:
    """A file with changes, without its permissions: a base that is read-only has an edited copy that is not.

    Cloned where the file system can do that. Else weights without a change are hard links, one file under two names;
    what people change by hand, such as a configuration, is always a copy.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    cloned = _cloned(file, place)
    if changes or not (cloned or (file.suffix == ".safetensors" and _linked(file, place))):
        rewrite(file, place, changes, observe, cloned)


def _linked(file: Path, place: Path) -> bool:
    """Whether ``place`` could be made a hard link to what ``file`` is, or points to."""
    try:
        os.link(file.resolve(), place)
    except OSError:  # another disk, a file system without links, or a file of another user
        return False
    return True


def _cloned(file: Path, place: Path) -> bool:
    """Whether ``place`` could be made a copy that shares the file's blocks until one of the two is written."""
    try:
        with file.open("rb") as source, place.open("xb") as target:
            fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
    except OSError:  # not Btrfs, XFS or the like
        place.unlink(missing_ok=True)
        return False
    return True
