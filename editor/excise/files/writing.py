"""Writing files and folders whole or not at all: under another name first, renamed at the end."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name to write a file under; it becomes ``path`` when the block ends, and is left behind by a block that fails.

    The next writer of ``path`` overwrites what was left behind.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    yield unfinished
    os.replace(unfinished, path)


def write_bytes(path: Path, data: bytes) -> None:
    """A file of these bytes."""
    with written_whole(path) as unfinished:
        unfinished.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """A JSON file, keys in the order given; NaN is refused, as JSON has none."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file; equal tensors give equal bytes, in any order (so nothing goes into its metadata)."""
    from safetensors.torch import save_file  # here: it brings torch, which who writes JSON does not need

    with written_whole(path) as unfinished:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished)


def unfinished_folder(target: Path) -> Path:
    """Hidden folder beside ``target`` to make it in; what an earlier attempt left there is removed."""
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    return unfinished


def put_folder(unfinished: Path, target: Path) -> None:
    """Give a finished folder its name, in place of one that has it."""
    shutil.rmtree(target, ignore_errors=True)
    os.replace(unfinished, target)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there; of a link, the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which has no name until the block ends: whatever ends the process before, nothing of it is left.

    Where the file system has no such files, it is a hidden one beside ``path``, which does not outlast an error, and
    which the next writer of ``path`` removes.
    """
    hidden = path.with_name(f".{path.name}.unfinished")
    hidden.unlink(missing_ok=True)
    place = os.open(path.parent, os.O_RDONLY)
    try:
        nameless, number = True, os.open(".", os.O_TMPFILE | os.O_RDWR, 0o666, dir_fd=place)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            os.close(place)
            raise
        nameless, number = False, os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            if nameless:
                try:
                    os.link(f"/proc/self/fd/{number}", path.name, dst_dir_fd=place)
                    return
                except FileExistsError:  # a link never replaces
                    os.link(f"/proc/self/fd/{number}", hidden.name, dst_dir_fd=place)
            os.replace(hidden, path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    finally:
        os.close(place)
