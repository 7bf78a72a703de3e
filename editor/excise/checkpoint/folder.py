"""The folder of a checkpoint: what may be in it, its index, its components, and the precision variants of weights.

Safetensors only; no code, nothing from outside the folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers

from excise.diffusion.load import DENOISERS
from excise.errors import ExciseError

PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth", ".msgpack", ".npy", ".npz", ".h5", ".onnx"})
"""Endings of weight files other than safetensors: pickles run code when read, and all of them hold weights that
an edit would not reach."""
LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion"})
"""Where a pipeline's components may come from; the last holds Stable Diffusion's safety checker."""
INDEX = "model_index.json"
CONFIGURATIONS = ("*.json", "*.txt", "*.model", "*.jinja")
WEIGHTS = ("*.safetensors",)
LICENCES = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "USE_POLICY*", "license*", "licence*")
"""Texts in a checkpoint's folder that go with every copy of it."""
_COMPONENT = re.compile(r"[A-Za-z0-9_]+")


def check_folder(path: Path) -> None:
    """Refuse a checkpoint folder that is not there, or cannot be loaded without trusting it.

    Raises:
        ExciseError: no such folder; a weight file that is not safetensors;
            custom code; a symbolic link to a folder or out of this one, save to the blobs of the Hub's cache; weights
            beside the components, which an edit would leave as they are.
    """
    if not path.is_dir():
        raise ExciseError(
            f"{path}: no such checkpoint folder; correct model.path (a repository on the Hub is written hf://ORG/NAME)"
        )
    root = path.resolve()
    cache = root.parents[1] / "blobs" if root.parent.name == "snapshots" else root  # the Hub's cache links to its blobs
    for file in sorted(path.rglob("*")):
        inside = file.resolve().is_relative_to(root) or file.resolve().parent == cache
        if file.is_symlink() and (file.is_dir() or not inside):
            raise ExciseError(f"{file}: a symbolic link to elsewhere; copy the folder with cp -rL and use the copy")
        if file.suffix.lower() in PICKLES:
            raise ExciseError(f"{file}: not safetensors, and never opened; remove it, or save it as safetensors")
        if file.suffix == ".py":
            raise ExciseError(f"{file}: custom code is never run; use a checkpoint of a stock diffusers pipeline")
    if loose := sorted(path.glob("*.safetensors")):
        raise ExciseError(f"{loose[0]}: weights outside the components' folders would stay unedited; move them away")


def read_index(path: Path) -> dict[str, Any]:
    """``model_index.json`` of a checkpoint folder, its components checked to be stock classes.

    Raises:
        ExciseError: the file is missing or broken, or names a custom pipeline or a library that is not ours.
    """
    file = path / INDEX
    try:
        index: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExciseError(f"{file}: cannot be read ({error.strerror}); give a folder in diffusers layout") from error
    except (ValueError, RecursionError) as error:
        raise ExciseError(f"{file}: not valid JSON: {error}; fetch it again") from error
    name = index.get("_class_name") if isinstance(index, dict) else None
    if not isinstance(name, str) or not hasattr(diffusers, name):
        raise ExciseError(f"{file}: _class_name: {name!r} is not a pipeline of diffusers; custom pipelines are refused")
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


def checkpoint_files(path: Path) -> tuple[str, ...]:
    """Names of the files that make up a checkpoint: its index, licence texts, and its components' own, sorted.

    Whatever else lies in the folder (samples, notes, hidden files) is not of it.
    """
    found = {file for pattern in (INDEX, *LICENCES) for file in path.glob(pattern)}
    for name in components_of(read_index(path)):
        found |= {file for pattern in CONFIGURATIONS + WEIGHTS for file in (path / name).glob(pattern)}
    names = (file.relative_to(path).as_posix() for file in found if file.is_file())
    return tuple(sorted(name for name in names if "/." not in f"/{name}"))


def denoiser_of(path: Path, index: Mapping[str, Any]) -> Path:
    """Folder of the denoiser's weights in a checkpoint folder with this index.

    Raises:
        ExciseError: the index names no denoiser, or its folder holds no safetensors.
    """
    for name in DENOISERS:
        if isinstance(index.get(name), list) and index[name][0] is not None:
            if not any((path / name).glob("*.safetensors")):
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
    found = {variant_in(file.name) for file in folder.glob("*.safetensors")}
    return None if None in found else min(filter(None, found), default=None)
