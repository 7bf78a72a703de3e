"""Where the sites of a denoiser are: an explicit registry per architecture; an unknown one is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import FeedForward
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from editor.diffusion.load import denoiser_folder, read_index
from editor.errors import ExciseError


@dataclass(frozen=True)
class Site:
    """A linear layer whose input is looked at and whose weight ``(outputs, neurons)`` may be edited."""

    name: str
    """Dotted name of the layer in the denoiser."""
    outputs: int
    neurons: int

    @property
    def tensor(self) -> str:
        """Name of its weight in the checkpoint's files."""
        return f"{self.name}.weight"


FAMILIES = {"ffn": "ff.net.2", "ffn_first": "ff.net.0.proj", "cross_value": "attn2.to_v", "cross_key": "attn2.to_k"}
"""The layer of a transformer block that each family of sites names; the first is where the published method edits."""


def _unet_condition(denoiser: Any) -> Iterator[str]:
    """Transformer blocks of a `UNet2DConditionModel` (Stable Diffusion 1 and 2, SDXL) as the forward pass meets them."""
    downs = [f"down_blocks.{i}" for i in range(len(denoiser.down_blocks))]
    ups = [f"up_blocks.{i}" for i in range(len(denoiser.up_blocks))]
    middle = [] if denoiser.mid_block is None else ["mid_block"]
    for block in (*downs, *middle, *ups):
        for i, attention in enumerate(getattr(denoiser.get_submodule(block), "attentions", None) or ()):
            if isinstance(attention, Transformer2DModel):
                for j in range(len(attention.transformer_blocks)):
                    yield f"{block}.attentions.{i}.transformer_blocks.{j}"


ARCHITECTURES: dict[type[nn.Module], Callable[[Any], Iterator[str]]] = {UNet2DConditionModel: _unet_condition}


def find_sites(denoiser: nn.Module, family: str = "ffn") -> tuple[Site, ...]:
    """The sites of a denoiser in the order in which its forward pass meets them.

    Args:
        family: a key of `FAMILIES`.

    Raises:
        ExciseError: an architecture that is not in the registry; no site; an FFN that the registry does not reach.
    """
    walk = ARCHITECTURES.get(type(denoiser))
    if walk is None:
        known = ", ".join(sorted(architecture.__name__ for architecture in ARCHITECTURES))
        raise ExciseError(f"model.path: denoiser {type(denoiser).__name__} is not supported; supported: {known}")
    blocks = list(walk(denoiser))
    reached = {f"{block}.ff" for block in blocks}
    present = {name for name, module in denoiser.named_modules() if isinstance(module, FeedForward)}
    if not blocks or present != reached:
        odd = sorted(present.symmetric_difference(reached)) or ["none at all"]
        raise ExciseError(f"model.path: FFNs of this {type(denoiser).__name__} are not where they are known: {odd[0]}")
    return tuple(_site(denoiser, f"{block}.{FAMILIES[family]}") for block in blocks)


def _site(denoiser: nn.Module, name: str) -> Site:
    try:
        layer = denoiser.get_submodule(name)
    except AttributeError as error:
        raise ExciseError(f"collect.sites: this {type(denoiser).__name__} has no layer {name}") from error
    if type(layer) is not nn.Linear:
        raise ExciseError(f"model.path: {name} is a {type(layer).__name__}; only plain linear layers are edited")
    return Site(name, layer.out_features, layer.in_features)


def sites_of(path: Path, family: str = "ffn") -> tuple[Site, ...]:
    """The sites of a checkpoint folder, from its configuration alone: no weight is read.

    Raises:
        ExciseError: as `find_sites`.
    """
    folder = denoiser_folder(path)
    name = read_index(path)[folder.name][1]
    known: dict[str, Any] = {architecture.__name__: architecture for architecture in ARCHITECTURES}
    if name not in known:
        raise ExciseError(f"{folder}: denoiser {name} is not supported; supported: {', '.join(sorted(known))}")
    with torch.device("meta"):
        return find_sites(known[name].from_config(known[name].load_config(folder)), family)
