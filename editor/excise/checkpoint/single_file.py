"""Single-file checkpoints in the layout of the original Stable Diffusion: into a diffusers folder, by diffusers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import diffusers
import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.loaders.single_file_utils import (
    SingleFileComponentError,
    fetch_diffusers_config,
    is_t5_in_single_file,
)
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME as TRANSFORMERS_WEIGHTS_NAME

from excise.checkpoint.folder import CONFIGURATIONS, INDEX, components_of, read_index
from excise.checkpoint.original import converted
from excise.checkpoint.tensorfile import DTYPES, read_header, write_sketch
from excise.diffusion.components import empty_component, shapes_of
from excise.diffusion.load import LEFT_OUT
from excise.errors import ExciseError
from excise.files.writing import put_folder, unfinished_folder, write_json


def usual_configuration(path: Path) -> str:
    """Repository whose configuration diffusers takes a single-file checkpoint to have, by the names of its tensors.

    Raises:
        ExciseError: the file is not safetensors.
    """
    return str(fetch_diffusers_config(read_header(path))["pretrained_model_name_or_path"])  # it looks at shapes alone


def convert(path: Path, configuration: Path, target: Path) -> None:
    """Write the diffusers folder ``target`` of a single-file checkpoint, in the precision that most of it is stored in.

    Args:
        path: the checkpoint, safetensors.
        configuration: folder with ``model_index.json``, tokenizers and each component's configuration; no weights.
        target: appears whole or not at all.

    Raises:
        ExciseError: the file is not safetensors, or is not of the architecture that the configuration describes.
    """
    _, precision = _described(path, configuration)
    index = read_index(configuration)
    try:
        pipeline: DiffusionPipeline = getattr(diffusers, index["_class_name"]).from_single_file(
            str(path),
            config=str(configuration),
            dtype=DTYPES[precision],
            local_files_only=True,
            **{part: None for part in LEFT_OUT if part in index},
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, SingleFileComponentError) as error:
        raise _cannot(path, configuration, str(error)) from error
    unfinished = unfinished_folder(target)
    pipeline.save_pretrained(unfinished)
    put_folder(unfinished, target)


def sketch(path: Path, configuration: Path, target: Path) -> None:
    """The folder that `convert` would make, but for the weights, whose files have headers and full size alone.

    Args:
        path: the checkpoint; its header is read and nothing else.
        configuration: as for `convert`.
        target: the new folder.

    Raises:
        ExciseError: as `convert`.
    """
    networks, precision = _described(path, configuration)
    index = read_index(configuration)
    parts = [name for name in components_of(index) if name not in LEFT_OUT]
    for file in (file for name in parts for kind in CONFIGURATIONS for file in (configuration / name).glob(kind)):
        place = target / file.relative_to(configuration)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    write_json(target / INDEX, index | {name: [None, None] for name in LEFT_OUT if name in index})
    for name, network in networks.items():
        file = SAFETENSORS_WEIGHTS_NAME if isinstance(network, ModelMixin) else TRANSFORMERS_WEIGHTS_NAME
        write_sketch(target / name / file, {key: (precision, shape) for key, shape in shapes_of(network).items()})


def _described(path: Path, configuration: Path) -> tuple[dict[str, nn.Module], str]:
    """The networks that a single file becomes, without weights, and the dtype of most of what it holds.

    Raises:
        ExciseError: the file lacks a tensor of theirs, or has it in another shape.
    """
    header = read_header(path)
    stored = Counter(entry.dtype for entry in header.values() if entry.dtype in DTYPES)
    index = read_index(configuration)
    if not hasattr(getattr(diffusers, index["_class_name"]), "from_single_file"):
        raise ExciseError(f"{configuration / INDEX}: diffusers converts no single file into a {index['_class_name']}")
    if not stored:
        raise ExciseError(f"{path}: no tensor of {', '.join(DTYPES)}; save it in one of these")
    stand_ins = {name: torch.empty(entry.shape, device="meta") for name, entry in header.items()}
    networks = {}
    for name in (name for name in components_of(index) if name not in LEFT_OUT):
        if network := empty_component(index[name][0], index[name][1], configuration / name):
            networks[name] = network
            try:
                _check_fits(name, network, converted(stand_ins, header, network), stand_ins)
            except ExciseError as error:
                raise _cannot(path, configuration, str(error)) from error
    return networks, stored.most_common(1)[0][0]


def _check_fits(name: str, network: nn.Module, found: dict[str, Tensor], whole: dict[str, Tensor]) -> None:
    """Refuse a component that the file lacks, or has in other shapes; buffers have values without it."""
    if not found:
        if isinstance(network, PreTrainedModel) and is_t5_in_single_file(whole):
            return  # what the loader makes of it is known from the configuration alone
        raise ExciseError(f"{name}: the file holds no {type(network).__name__}; add it, or give a diffusers folder")
    shapes = shapes_of(network)
    for key, _ in network.named_parameters():
        if key not in found:
            raise ExciseError(f"{name}: no tensor for {key}")
        if tuple(found[key].shape) != shapes[key]:
            raise ExciseError(f"{name}: {key}: shape {tuple(found[key].shape)}, {shapes[key]} by its configuration")


def _cannot(path: Path, configuration: Path, why: str) -> ExciseError:
    return ExciseError(f"{path}: diffusers cannot convert this file with the configuration {configuration}: {why}")
