"""Reading and editing a checkpoint's weights where they lie.

An edit keeps names, shapes and dtypes, so a file is copied with other bytes in the edited tensors' ranges: header and
every other tensor keep their bits, and memory holds one tensor at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from editor.diffusion.load import denoiser_folder, variant_in, variant_of
from editor.diffusion.rewrite import Edit, rewrite
from editor.diffusion.sites import expected_shapes
from editor.diffusion.tensorfile import DTYPES, Entry, read_entry, read_header
from editor.errors import NO_ROOM, ExciseError

INDEX_MARK = ".safetensors.index"
FICLONE = 0x40049409
"""Request to a file system to clone a file (linux/fs.h)."""


def copies_of(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The copies of a component's weights (precision variants), the one that `load_pipeline` loads first.

    Returns:
        Name of the file that stands for the copy, which is its index if it is sharded, to the copy's files.

    Raises:
        ExciseError: an index is broken, or names a file that is not there.
    """
    copies: dict[str, tuple[Path, ...]] = {}
    for index in sorted(file for file in folder.glob("*.json") if INDEX_MARK in file.name):
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExciseError(f"{index}: not an index of safetensors shards: {error}; fetch it again") from error
        for shard in shards:
            if Path(shard).name != shard or not (folder / shard).is_file():
                raise ExciseError(f"{index}: shard {shard!r} is not beside it; fetch the checkpoint again")
        copies[index.name] = tuple(folder / shard for shard in shards)
    sharded = {file for files in copies.values() for file in files}
    copies |= {file.name: (file,) for file in sorted(folder.glob("*.safetensors")) if file not in sharded}
    loaded = variant_of(folder)

    def order(name: str) -> tuple[bool, bool, bool, str]:
        """As diffusers chooses: the variant, its own file names, and an index before a single file."""
        return variant_in(name) != loaded, not name.startswith("diffusion_pytorch_model"), INDEX_MARK not in name, name

    return {name: copies[name] for name in sorted(copies, key=order)}


def tensor_places(path: Path, names: Iterable[str]) -> dict[str, tuple[tuple[Path, Entry], ...]]:
    """Where each named tensor of the denoiser lies: once per copy of the weights, the loaded copy first.

    Args:
        path: checkpoint folder.
        names: tensors that will be read or edited.

    Raises:
        ExciseError: a copy lacks a tensor, or holds it in a dtype that is not plain floating point.
    """
    places: dict[str, list[tuple[Path, Entry]]] = {name: [] for name in names}
    folder = denoiser_folder(path)
    for copy, files in copies_of(folder).items():
        found = {name: (file, entry) for file in files for name, entry in read_header(file).items()}
        for name, place in places.items():
            if name not in found:
                raise ExciseError(f"{folder / copy}: no tensor {name!r}, so an edit would miss it; move this copy away")
            if found[name][1].dtype not in DTYPES:
                raise ExciseError(
                    f"{folder / copy}: {name}: stored as {found[name][1].dtype}, which cannot be edited; "
                    f"save it as one of {', '.join(DTYPES)}"
                )
            place.append(found[name])
    return {name: tuple(place) for name, place in places.items()}


def tensor_names(path: Path) -> tuple[str, ...]:
    """Names of the denoiser's tensors in the copy that is loaded, sorted."""
    files = next(iter(copies_of(denoiser_folder(path)).values()))
    return tuple(sorted(name for file in files for name in read_header(file)))


def read_tensor(path: Path, name: str) -> Tensor:
    """One tensor of the denoiser as it is stored in the copy that is loaded."""
    return read_entry(*tensor_places(path, [name])[name][0])


def check_finite(path: Path, names: Iterable[str] | None = None) -> None:
    """Refuse NaN and infinity in the named tensors of the denoiser, or in all of them, in every copy of its weights.

    Raises:
        ExciseError: names the file and the tensor.
    """
    for name, places in tensor_places(path, tensor_names(path) if names is None else names).items():
        for file, entry in places:
            if not bool(torch.isfinite(read_entry(file, entry)).all()):
                raise ExciseError(f"{file}: {name}: holds NaN or infinity; fetch the checkpoint again")


def check_against_config(path: Path) -> None:
    """Refuse a denoiser whose tensors are not those of its configuration, by name and shape, in any copy.

    Raises:
        ExciseError: names the file and the tensor.
    """
    folder, shapes = denoiser_folder(path), expected_shapes(path)
    for copy, files in copies_of(folder).items():
        found = {name: (file, entry) for file in files for name, entry in read_header(file).items()}
        for name, shape in shapes.items():
            if name not in found:
                raise ExciseError(f"{folder / copy}: no tensor {name!r}, which config.json asks for; fetch it again")
            file, entry = found[name]
            if entry.shape != shape:
                raise ExciseError(
                    f"{file}: {name}: shape {entry.shape}, but config.json asks for {shape}; fetch both again"
                )


def copy_with_edits(base: Path, target: Path, edits: Mapping[str, Edit]) -> None:
    """Copy a checkpoint folder, changing the named tensors of the denoiser in every copy of its weights.

    Made in a hidden folder beside ``target``, checked against the base byte for byte, and renamed at the end; a
    ``target`` that was there before is replaced. Files are clones of the base's, where the file system can; else
    weights without an edited tensor are hard links, where it can, and all others copies.

    Raises:
        ExciseError: disk full, folder not writable, a tensor missing, an edit that changes shape or dtype, or a
            file that differs from the base in anything but the named tensors.
    """
    places = tensor_places(base, edits)
    unfinished = target.with_name(f".{target.name}.unfinished")
    edited: dict[Path, dict[str, tuple[Entry, Edit]]] = {}
    for name, edit in edits.items():
        for file, entry in places[name]:
            edited.setdefault(file, {})[name] = entry, edit
    with _writing(unfinished):
        files = sorted(_files(base), key=lambda file: -file.stat().st_size)
        with ThreadPoolExecutor(2) as pool:
            for _ in pool.map(
                lambda file: _copy(file, unfinished / file.relative_to(base), edited.get(file, {})), files
            ):
                pass
        if target.exists():
            shutil.rmtree(target)
        os.replace(unfinished, target)


@contextmanager
def _writing(unfinished: Path) -> Iterator[None]:
    """Start without ``unfinished``, and leave without it after an error, which is explained if it is the disk's."""
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        yield
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        advice = "free some space, or choose" if error.errno in NO_ROOM else "make it writable, or choose"
        raise ExciseError(
            f"{unfinished.parent}: the edited checkpoint cannot be written ({error.strerror}); {advice} another --out"
        ) from error


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def copy_files(base: Path, target: Path, names: Iterable[str]) -> None:
    """Files of a folder in another, as in `copy_with_edits`; no name leads out of either."""
    for name in names:
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            raise ExciseError(f"{base}: {name!r} leads out of the folder; such a checkpoint is refused")
        _copy(base / name, target / name, {})


def _copy(file: Path, place: Path, edits: Mapping[str, tuple[Entry, Edit]]) -> None:
    """A file with edits, without its permissions: a base that is read-only has an edited copy that is not.

    Cloned where the file system can do that. Else weights without an edit are hard links, one file under two names;
    what people change by hand, such as a configuration, is always a copy.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    cloned = _cloned(file, place)
    if edits or not (cloned or (file.suffix == ".safetensors" and _linked(file, place))):
        rewrite(file, place, edits, cloned)


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
