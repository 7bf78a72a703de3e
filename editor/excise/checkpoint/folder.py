"""The folder of a checkpoint: its index, which files are the checkpoint, and the precision variants of weights.

A folder cloned from the Hub holds more than the pipeline that its index describes: weights in other formats, adapters,
samples. The checkpoint is what the index names, as safetensors; the rest is neither opened nor copied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from excise.diffusion.load import DENOISERS
from excise.diffusion.pipelines import kind_of
from excise.errors import ExciseError

PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth", ".msgpack", ".npy", ".npz", ".h5", ".onnx"})
"""Endings of weight files other than safetensors: pickles run code when read, and all of them hold weights that
an edit would not reach. None is of a checkpoint."""
LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion"})
"""Where a pipeline's components may come from; the last holds Stable Diffusion's safety checker."""
INDEX = "model_index.json"
CONFIGURATIONS = ("*.json", "*.txt", "*.model", "*.jinja")
WEIGHTS = tuple(
    f"{stem}{end}.safetensors" for stem in ("diffusion_pytorch_model", "model") for end in ("", ".*", "-[0-9]*")
)
"""Names that diffusers and transformers load a component's weights from: whole, as a variant, in shards."""
CARD = "README.md"
ADAPTER = "adapter_config.json"
"""What transformers takes up by itself, with the adapter's weights, where it finds it beside a model."""
LICENCES = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "USE_POLICY*", "license*", "licence*")
"""Texts in a checkpoint's folder that go with every copy of it."""
_COMPONENT = re.compile(r"[A-Za-z0-9_]+")


def check_folder(path: Path) -> None:
    """Refuse a checkpoint folder that is not there, or of which the libraries would read what they must not.

    Files that are not of the checkpoint are nobody's business, wherever they lie; see `checkpoint_files`.

    Raises:
        ExciseError: no such folder; as `read_index`; beside a component's files code, or an adapter, that a library
            would take up by itself; a symbolic link to a folder or out of this one, save to the blobs of the Hub's
            cache.
    """
    if not path.is_dir():
        raise ExciseError(
            f"{path}: no such checkpoint folder; correct model.path (a repository on the Hub is written hf://ORG/NAME)"
        )
    root = path.resolve()
    cache = root.parents[1] / "blobs" if root.parent.name == "snapshots" else root  # the Hub's cache links to its blobs

    def check_link(file: Path) -> None:
        inside = file.resolve().is_relative_to(root) or file.resolve().parent == cache
        if file.is_symlink() and (file.is_dir() or not inside):
            raise ExciseError(f"{file}: a symbolic link to elsewhere; copy the folder with cp -rL and use the copy")

    check_link(path / INDEX)
    index = read_index(path)
    for component in components_of(index):
        check_link(path / component)
        for file in sorted((path / component).glob("*")):
            if file.suffix.lower() == ".py":
                raise ExciseError(f"{file}: custom code is never run; use a checkpoint of a stock diffusers pipeline")
            if file.name == ADAPTER:
                raise ExciseError(f"{file}: an adapter that would be loaded, and not edited; merge it, or move it away")
    for name in (CARD, *checkpoint_files(path, index)):
        check_link(path / name)


def read_index(path: Path) -> dict[str, Any]:
    """``model_index.json`` of a checkpoint folder, its components checked to be stock classes.

    Raises:
        ExciseError: the file is missing or broken, or names a custom pipeline, one that is not supported, or a library
            that is not ours.
    """
    file = path / INDEX
    try:
        index: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExciseError(f"{file}: cannot be read ({error.strerror}); give a folder in diffusers layout") from error
    except (ValueError, RecursionError) as error:
        raise ExciseError(f"{file}: not valid JSON: {error}; fetch it again") from error
    if not isinstance(index, dict):
        raise ExciseError(f"{file}: is not a JSON object; fetch it again")
    try:
        kind_of(index)
    except ExciseError as error:
        raise ExciseError(f"{file}: {error}") from error
    for name, value in index.items():
        if not isinstance(value, list) or name.startswith("_"):
            continue
        if len(value) != 2 or not _COMPONENT.fullmatch(name):
            raise ExciseError(f"{file}: {name}: is not a component; each is a plain name with its library and class")
        if value[0] not in (*sorted(LIBRARIES), None):
            raise ExciseError(f"{file}: {name}: library {value[0]!r} is refused; known are {sorted(LIBRARIES)}")
    return index


def components_of(index: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the components that an index has folders of, sorted."""
    names = (name for name, value in index.items() if isinstance(value, list) and not name.startswith("_"))
    return tuple(sorted(name for name in names if index[name][0] is not None))


def checkpoint_files(path: Path, index: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Names of the files that make up a checkpoint: its index, licence texts, and its components' own, sorted.

    Whatever else lies in the folder (pickles, adapters, samples, notes, hidden files) is not of it.
    """
    found = {file for pattern in (INDEX, *LICENCES) for file in path.glob(pattern)}
    for name in components_of(read_index(path) if index is None else index):
        found |= {file for pattern in CONFIGURATIONS + WEIGHTS for file in (path / name).glob(pattern)}
    names = (file.relative_to(path).as_posix() for file in found if file.is_file())
    return tuple(sorted(name for name in names if "/." not in f"/{name}"))


def left_out(path: Path, index: Mapping[str, Any]) -> tuple[str, ...]:
    """What else lies in the folder, sorted: files by name, folders that the index does not name as ``name/``.

    Hidden ones, such as a clone's ``.git``, are not told.
    """
    components = components_of(index)
    known = {CARD, *checkpoint_files(path, index), *(f"{name}/" for name in components)}
    entries = [*path.iterdir(), *(entry for name in components for entry in (path / name).glob("*"))]
    names = (entry.relative_to(path).as_posix() + ("/" if entry.is_dir() else "") for entry in entries)
    return tuple(sorted(name for name in names if name not in known and "/." not in f"/{name}"))


def weights_in(component: Path) -> list[Path]:
    """A component's files of weights, sorted."""
    return sorted({file for pattern in WEIGHTS for file in component.glob(pattern) if file.is_file()})


def denoiser_of(path: Path, index: Mapping[str, Any]) -> Path:
    """Folder of the denoiser's weights in a checkpoint folder with this index.

    Raises:
        ExciseError: the index names no denoiser, or its folder holds no safetensors.
    """
    for name in DENOISERS:
        if isinstance(index.get(name), list) and index[name][0] is not None:
            if not weights_in(path / name):
                raise ExciseError(f"{path / name}: no safetensors file; save the denoiser with safe_serialization=True")
            return path / name
    raise ExciseError(f"{path / INDEX}: no denoiser; one of {', '.join(DENOISERS)} is needed")


def variant_in(name: str) -> str | None:
    """The precision variant in the name of a weight file or of an index of shards, None for a plain name.

    ``fp16`` in ``model.fp16.safetensors``, ``model.fp16-00001-of-00002.safetensors`` and
    ``model.safetensors.index.fp16.json``.
    """
    marks = [part for part in name.split(".")[1:] if part not in ("safetensors", "index", "json")]
    return marks[0].split("-")[0] if marks else None


def variant_of(folder: Path) -> str | None:
    """The precision variant to load from a component's folder: the plain one where it is there, else the first."""
    found = {variant_in(file.name) for file in weights_in(folder)}
    return None if None in found else min(filter(None, found), default=None)
