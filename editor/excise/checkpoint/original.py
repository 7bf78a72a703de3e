"""Single files in the original layout, seen through diffusers' own conversion: which tensor becomes which.

The conversion is run on small stand-ins, whose numbers say which rows of which tensor they are, and what comes out is
read off. So nothing of diffusers' tables is written down here a second time, and no weight is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import single_file_utils as library
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import Tensor, nn

from excise.checkpoint.pieces import Piece, rows_of
from excise.checkpoint.tensorfile import Entry
from excise.diffusion.components import loaded_name
from excise.errors import ExciseError

OPEN_CLIP = ("cond_stage_model.model.", "conditioner.embedders.1.model.")
"""Where the text encoder of Stable Diffusion 2 lies, and the second one of XL: as OpenCLIP names its tensors."""
SD3_CLIP = ("text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer.")
"""Where the first two text encoders of Stable Diffusion 3 lie; the first is Flux's too."""
_ROWS = 2**32
"""More than any tensor has rows."""


@dataclass(frozen=True)
class Part:
    """A tensor of a single file, or some of its rows."""

    name: str
    first: int
    rows: int
    shape: tuple[int, ...]
    """Of the tensor that it becomes."""
    transposed: bool = False


def converted(tensors: Mapping[str, Tensor], header: Mapping[str, Entry], network: nn.Module) -> dict[str, Tensor]:
    """What diffusers' conversion makes of a file's tensors for a network, by its names; nothing of what it cannot make.

    Args:
        tensors: the file's, or what stands for them.
        header: of the file; where there are two text encoders, they are told apart by their widths.
        network: without weights; as `excise.diffusion.components.empty_component` gives it.

    Raises:
        ExciseError: the conversion misses a tensor.
    """
    kind: Any = type(network)
    copy = dict(tensors)  # some conversions empty what they are given
    try:
        if kind.__name__ in SINGLE_FILE_LOADABLE_CLASSES:
            convert = SINGLE_FILE_LOADABLE_CLASSES[kind.__name__]["checkpoint_mapping_fn"]
            found = convert(config=dict(network.config), checkpoint=copy)  # type: ignore[arg-type]
        elif library.is_clip_model_in_single_file(kind, copy):
            found = _converted_text(copy, header, network)
        else:
            return {}
    except (KeyError, IndexError, AttributeError) as error:
        raise ExciseError(f"no tensor {error} for the {kind.__name__}, as its configuration asks for one") from error
    return {name: value for name, value in found.items() if value is not None}


def _converted_text(tensors: dict[str, Tensor], header: Mapping[str, Entry], network: Any) -> dict[str, Tensor]:
    """As diffusers chooses between the encoders that a file may hold."""

    def as_wide(key: str) -> bool:
        place = library.CHECKPOINT_KEY_NAMES[key]
        return place in tensors and bool(header[place].shape[-1] == network.config.hidden_size)

    if library.is_clip_model(tensors) or as_wide("clip_sdxl"):
        found = library.convert_ldm_clip_checkpoint(tensors)
    elif as_wide("clip_sd3"):
        found = library.convert_ldm_clip_checkpoint(tensors, SD3_CLIP[0])
        found["text_projection.weight"] = torch.eye(network.config.hidden_size)  # as the loader does; no file has one
    elif library.is_open_clip_model(tensors):
        found = library.convert_open_clip_checkpoint(network, tensors, prefix=OPEN_CLIP[0])
    elif as_wide("open_clip_sdxl"):
        found = library.convert_open_clip_checkpoint(network, tensors, prefix=OPEN_CLIP[1])
    elif as_wide("open_clip_sd3"):
        found = library.convert_ldm_clip_checkpoint(tensors, SD3_CLIP[1])
    else:
        return {}
    return {loaded_name(name, network): value for name, value in found.items()}


def traced(header: Mapping[str, Entry], network: nn.Module) -> dict[str, Part]:
    """Where in a single file each tensor of a network comes from; without those that do not come from it.

    Args:
        header: of the file.
        network: of Stable Diffusion 1, 2 or XL, whose conversions rename, cut and transpose, and do no more.

    Raises:
        ExciseError: as `converted`.
    """
    names = list(header)
    found = converted({name: _stand_in(i, header[name].shape) for i, name in enumerate(names)}, header, network)
    return {name: _part(value, names, header) for name, value in found.items() if value.numel()}


def _stand_in(number: int, shape: tuple[int, ...]) -> Tensor:
    """A column with a number for each row of a tensor, of as many dimensions as the tensor."""
    if not shape:
        return torch.tensor(number * _ROWS)
    return (torch.arange(shape[0]) + number * _ROWS).reshape(shape[0], *(1 for _ in shape[1:]))


def _part(value: Tensor, names: list[str], header: Mapping[str, Entry]) -> Part:
    """What a stand-in says of itself after the conversion."""
    numbers = value.flatten()
    number, first = divmod(int(numbers[0]), _ROWS)
    if not torch.equal(numbers, torch.arange(len(numbers)) + numbers[0]):
        raise ExciseError(f"{names[number]}: diffusers rearranges its rows, which cannot be followed")
    whole = header[names[number]].shape
    shape = (len(numbers), *whole[1:])[: value.dim()]
    if transposed := value.dim() == 2 and value.shape[0] == 1 and len(numbers) > 1:
        shape = shape[::-1]
    return Part(names[number], first, len(numbers), shape, transposed)


def pieces_in(path: Path, header: Mapping[str, Entry], network: nn.Module) -> dict[str, Piece]:
    """Where the bytes of a network's tensors lie in a single file; without those that do not come from it."""
    pieces = {}
    for name, part in traced(header, network).items():
        entry = rows_of(header[part.name], part.first, part.rows)
        shape = part.shape[::-1] if part.transposed else part.shape
        pieces[name] = Piece(path, replace(entry, shape=shape), part.transposed)
    return pieces
