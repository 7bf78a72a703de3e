"""The pipelines that turn a text into an image: what each is made of, and which sizes it draws. Others are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import lcm
from typing import Any

import diffusers
import transformers
from torch import nn

from excise.errors import ExciseError


@dataclass(frozen=True)
class Kind:
    """A pipeline's class."""

    needs: tuple[str, ...]
    """Components without which it draws nothing from a text; its constructor may well do without."""
    may: tuple[str, ...] = ()
    """Components that it may lack."""
    side: int = 8
    """The sides of its images are multiples of this many pixels, and of a patch of latents."""
    packs: int = 1
    """Latents along a side of a patch, where the denoiser's configuration states no ``patch_size``."""


_ONE = ("text_encoder", "tokenizer", "vae", "scheduler")
_TWO = ("text_encoder_2", "tokenizer_2", *_ONE)
PIPELINES = {
    "StableDiffusionPipeline": Kind(("unet", *_ONE)),  # 1 and 2
    "StableDiffusionXLPipeline": Kind(("unet", *_TWO)),
    "StableDiffusion3Pipeline": Kind(("transformer", *_TWO), may=("text_encoder_3", "tokenizer_3")),
    "FluxPipeline": Kind(("transformer", *_TWO), packs=2),
    "PixArtAlphaPipeline": Kind(("transformer", *_ONE)),
    "PixArtSigmaPipeline": Kind(("transformer", *_ONE)),
    "HunyuanDiTPipeline": Kind(("transformer", *_TWO)),
    "CogView4Pipeline": Kind(("transformer", *_ONE), side=16),
    "QwenImagePipeline": Kind(("transformer", *_ONE), packs=2),
    "SanaPipeline": Kind(("transformer", *_ONE), side=32),
}
"""The supported pipelines, by the names of their classes in diffusers."""


def kind_of(index: Mapping[str, Any]) -> Kind:
    """The kind of pipeline of an index.

    Raises:
        ExciseError: a custom pipeline; one of diffusers that is not of `PIPELINES`; says so without the file's name.
    """
    name = index.get("_class_name")
    if not isinstance(name, str) or not hasattr(diffusers, name):
        raise ExciseError(f"_class_name: {name!r} is not a pipeline of diffusers; custom pipelines are refused")
    if name not in PIPELINES:
        raise ExciseError(
            f"_class_name: {name} is not one of the text-to-image pipelines that are supported; "
            f"supported: {', '.join(PIPELINES)}"
        )
    return PIPELINES[name]


def networks_of(index: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the components that have weights.

    Raises:
        ExciseError: a component that the pipeline needs is not there, or of a class that its library does not have;
            says so without the file's name.
    """
    kind = kind_of(index)
    absent = [name for name in kind.needs if not isinstance(index.get(name), list) or index[name][0] is None]
    if absent:
        raise ExciseError(
            f"{absent[0]} is not there, and a {index['_class_name']} draws nothing without it; fetch the checkpoint "
            "again, with every component"
        )
    found = []
    for name in (*kind.needs, *kind.may):
        library, class_name = index.get(name) or (None, None)
        if library is None:
            continue
        cls = getattr({"diffusers": diffusers, "transformers": transformers}.get(library), str(class_name), None)
        if cls is None:
            raise ExciseError(f"{name}: {library} has no {class_name}; use a checkpoint of stock classes")
        found += [name] if isinstance(cls, type) and issubclass(cls, nn.Module) else []
    return tuple(found)


def reduction(vae: Mapping[str, Any]) -> int:
    """Pixels along the side of one latent, by an autoencoder's configuration."""
    levels = vae.get("block_out_channels") or vae.get("encoder_block_out_channels")  # the latter of Sana's
    halvings = vae.get("temperal_downsample")  # QwenImage's
    return 1 << (len(levels) - 1 if levels else len(halvings) if halvings else 3)


def side_multiple(index: Mapping[str, Any], denoiser: Mapping[str, Any], vae: Mapping[str, Any]) -> int:
    """What the sides of images in pixels must be multiples of: else the pipeline fails, or draws another size."""
    kind = kind_of(index)
    patch = kind.packs if kind.packs > 1 else int(denoiser.get("patch_size") or 1)
    return lcm(kind.side, reduction(vae) * patch)


def usual_side(denoiser: Mapping[str, Any], vae: Mapping[str, Any]) -> int:
    """Height and width of a pipeline's images in pixels where no size is asked for."""
    latent = denoiser.get("sample_size") or 128
    return int(latent if isinstance(latent, int) else latent[0]) * reduction(vae)
