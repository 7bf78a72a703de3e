"""Loading a checkpoint folder safely: safetensors only, no code, nothing from outside the folder."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import diffusers
import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers import DiffusionPipeline
from safetensors import SafetensorError
from torch import nn

from editor.errors import ExciseError

PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth", ".msgpack", ".npy", ".npz", ".h5", ".onnx"})
"""Endings of weight files other than safetensors: pickles run code when read, and all of them hold weights that
an edit would not reach."""
LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion"})
"""Where a pipeline's components may come from; the last holds Stable Diffusion's safety checker."""
DENOISERS = ("unet", "transformer")
INDEX = "model_index.json"
CONFIGURATIONS = ("*.json", "*.txt", "*.model", "*.jinja")
WEIGHTS = ("*.safetensors",)
LICENCES = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "USE_POLICY*", "license*", "licence*")
"""Texts in a checkpoint's folder that go with every copy of it."""
_COMPONENT = re.compile(r"[A-Za-z0-9_]+")
LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")


def check_folder(path: Path) -> None:
    """Refuse a checkpoint folder that cannot be loaded, or not without trusting it.

    Raises:
        ExciseError: no such folder; no or a broken ``model_index.json``; a weight file that is not safetensors;
            custom code; a symbolic link to a folder or out of this one, save to the blobs of the Hub's cache; weights
            beside the components, which an edit would leave as they are; no safetensors in the denoiser's folder.
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
    folder = denoiser_folder(path)
    if not any(folder.glob("*.safetensors")):
        raise ExciseError(f"{folder}: no safetensors file; save the denoiser with safe_serialization=True")


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
        raise ExciseError(f"{file}: not valid JSON: {error}") from error
    name = index.get("_class_name") if isinstance(index, dict) else None
    if not isinstance(name, str) or not hasattr(diffusers, name):
        raise ExciseError(f"{file}: _class_name: {name!r} is no pipeline of diffusers; custom pipelines are refused")
    for name, value in index.items():
        if not isinstance(value, list) or name.startswith("_"):
            continue
        if len(value) != 2 or not _COMPONENT.fullmatch(name):
            raise ExciseError(f"{file}: {name}: no component; each is a plain name with its library and class")
        if value[0] not in (*sorted(LIBRARIES), None):
            raise ExciseError(f"{file}: {name}: library {value[0]!r} is refused; known are {sorted(LIBRARIES)}")
    return index


def components_of(path: Path) -> tuple[str, ...]:
    """Names of the components that a checkpoint's index has folders of, sorted."""
    index = read_index(path)
    names = (name for name, value in index.items() if isinstance(value, list) and not name.startswith("_"))
    return tuple(sorted(name for name in names if index[name][0] is not None))


def checkpoint_files(path: Path) -> tuple[str, ...]:
    """Names of the files that make up a checkpoint: its index, licence texts, and its components' own, sorted.

    Whatever else lies in the folder (samples, notes, hidden files) is not of it.
    """
    found = {file for pattern in (INDEX, *LICENCES) for file in path.glob(pattern)}
    for name in components_of(path):
        found |= {file for pattern in CONFIGURATIONS + WEIGHTS for file in (path / name).glob(pattern)}
    names = (file.relative_to(path).as_posix() for file in found if file.is_file())
    return tuple(sorted(name for name in names if "/." not in f"/{name}"))


def denoiser_folder(path: Path) -> Path:
    """Folder of the denoiser's weights in a checkpoint folder."""
    index = read_index(path)
    for name in DENOISERS:
        if isinstance(index.get(name), list) and index[name][0] is not None:
            return path / name
    raise ExciseError(f"{path / 'model_index.json'}: no denoiser; one of {', '.join(DENOISERS)} is needed")


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


def pick_device(name: str) -> torch.device:
    """``auto`` takes a GPU where there is one; of several processes on a machine, each takes its own.

    Raises:
        ExciseError: ``cuda`` is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ExciseError("model.device: no CUDA device is available; use 'cpu' or 'auto'")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is float32 on a CPU; on a GPU bfloat16, or float16 where the GPU has no bfloat16."""
    if name != "auto":
        found: torch.dtype = getattr(torch, name)
        return found
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def load_pipeline(path: Path, dtype: torch.dtype, device: torch.device, offload: bool = False) -> DiffusionPipeline:
    """The pipeline of a checkpoint folder on ``device``, frozen, without safety checker and progress bar.

    Raises:
        ExciseError: as `check_folder`, and where diffusers cannot read the files.
    """
    check_folder(path)
    index = read_index(path)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    absent: dict[str, Any] = {name: None for name in LEFT_OUT if name in index}
    if "requires_safety_checker" in index:
        absent["requires_safety_checker"] = False
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            path,
            dtype=dtype,
            variant=variant_of(denoiser_folder(path)),
            use_safetensors=True,
            local_files_only=True,
            **absent,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ExciseError(f"{path}: diffusers cannot load this checkpoint: {error}") from error
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    if offload and device.type != "cpu":
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    return pipeline.to(device)


def execution_device(pipeline: DiffusionPipeline) -> torch.device:
    """Where the denoiser computes: under offloading that is not where its weights rest."""
    device: torch.device = pipeline._execution_device
    return device


def denoiser(pipeline: DiffusionPipeline) -> nn.Module:
    """The network that is called at each step."""
    for name in DENOISERS:
        if name in pipeline.components:
            network: nn.Module = pipeline.components[name]
            return network
    raise ExciseError(f"{type(pipeline).__name__}: no denoiser; one of {', '.join(DENOISERS)} is needed")
