"""A single file in the original layout, before it is written, and writing it: whole or not at all."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import nn

from excise.checkpoint.checkpoint import Checkpoint
from excise.checkpoint.tensorfile import BITS, make_header
from excise.diffusion.components import empty_component
from excise.errors import NO_ROOM, ExciseError
from excise.files.writing import new_file

_SD = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
LAYOUTS = {
    "StableDiffusionPipeline": _SD,
    "StableDiffusionXLPipeline": _SD | {"text_encoder_2": "CLIPTextModelWithProjection"},
}
"""Pipelines that have an original layout which diffusers reads and we write, and the classes of their networks."""
SUFFIX = ".safetensors"


class Bytes(Protocol):
    """Where a tensor, or some of its rows, comes from."""

    def blocks(self) -> Iterator[bytes]:
        """Its bytes, in order, never more than a tensor's at once."""
        ...


@dataclass(frozen=True)
class Outgoing:
    """A tensor of the file that is written."""

    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[Bytes, ...]


@dataclass(frozen=True)
class Contents:
    """A file that is written."""

    tensors: Mapping[str, Outgoing]
    """In the order in which they stand in it."""
    header: bytes
    """The beginning of the file, which says the same."""
    notes: list[str] = field(default_factory=list)
    """What is not in it, a sentence each."""


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    tensors: int
    notes: tuple[str, ...]
    """What one should know of it, a sentence each."""


def check_layout(checkpoint: Checkpoint) -> dict[str, nn.Module]:
    """The networks, without weights, of a checkpoint that has an original layout to be written in.

    Raises:
        ExciseError: it has none; names its class.
    """
    kinds = LAYOUTS.get(checkpoint.pipeline_class, {})
    odd = [name for name, kind in kinds.items() if (checkpoint.index.get(name) or ["", ""])[1] != kind]
    if not kinds or odd:
        what = f"a {checkpoint.pipeline_class}, whose denoiser is a {checkpoint.architecture}"
        if odd:
            what = f"a {checkpoint.pipeline_class}, whose {odd[0]} is {checkpoint.index.get(odd[0])}"
        raise ExciseError(
            f"{checkpoint.folder}: is {what}; only Stable Diffusion 1, 2 and XL ({', '.join(LAYOUTS)}) have a single "
            "file that is written and compared here: use the folder as it is"
        )
    found = {}
    for name, kind in kinds.items():
        network = empty_component(checkpoint.index[name][0], kind, checkpoint.folder / name)
        assert network is not None
        found[name] = network
    return found


def check_target(path: Path, overwrite: bool, outside: Iterable[Path]) -> None:
    """Refuse a place where a file must not go; asked before long work.

    Args:
        path: where it is to go.
        overwrite: whether a file that is there may be replaced.
        outside: folders that are read, and files.

    Raises:
        ExciseError: says what to choose instead.
    """
    if path.suffix != SUFFIX:
        raise ExciseError(f"{path}: programs know these files by their ending; choose a name that ends in {SUFFIX}")
    if not path.parent.is_dir():
        raise ExciseError(f"{path}: {path.parent} is no folder; make it, or choose another place")
    if path.is_dir():
        raise ExciseError(f"{path}: is a folder; choose a name for the file")
    if any(path.resolve().is_relative_to(place.resolve()) for place in outside):
        raise ExciseError(f"{path}: is, or would be, part of what the file is made of; choose another place")
    if path.exists() and not overwrite:
        raise ExciseError(f"{path}: is there already; choose another name, or replace it with --overwrite")


def header_of(tensors: Mapping[str, Outgoing], metadata: Mapping[str, str]) -> bytes:
    """The beginning of a file of these tensors, in their order."""
    return make_header({name: (one.dtype, one.shape) for name, one in tensors.items()}, metadata)


def write_contents(contents: Contents, path: Path) -> Exported:
    """Write a single file, tensor by tensor; ``path`` appears, or is replaced, when the file is complete.

    Raises:
        ExciseError: too little room on the disk; a place that cannot be written; what is read has become shorter.
    """
    size = len(contents.header) + sum(_size(one) for one in contents.tensors.values())
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise ExciseError(
            f"{path}: {size / 2**20:,.0f} MiB needed, {free / 2**20:,.0f} MiB free on its disk; free some space, or "
            "choose another disk"
        )
    digest = hashlib.sha256(contents.header)
    try:
        with new_file(path) as file:
            file.write(contents.header)
            for name, one in contents.tensors.items():
                written = 0
                for block in (block for piece in one.pieces for block in piece.blocks()):
                    file.write(block)
                    digest.update(block)
                    written += len(block)
                if written != _size(one):
                    raise ExciseError(f"{path}: {name}: {written} bytes where {_size(one)} were expected; start again")
    except OSError as error:
        advice = "free some space, or choose" if error.errno in NO_ROOM else "make it writable, or choose"
        raise ExciseError(f"{path}: cannot be written ({error.strerror}); {advice} another place") from error
    return Exported(path, size, digest.hexdigest(), len(contents.tensors), tuple(contents.notes))


def _size(one: Outgoing) -> int:
    return math.prod(one.shape) * BITS[one.dtype] // 8
