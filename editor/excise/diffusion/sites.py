"""Where the sites of a denoiser are: an explicit registry per architecture; an unknown one is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    CogView4Transformer2DModel,
    FluxTransformer2DModel,
    HunyuanDiT2DModel,
    PixArtTransformer2DModel,
    QwenImageTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from diffusers.models.attention import FeedForward
from diffusers.models.transformers.sana_transformer import GLUMBConv
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_flux import FluxSingleTransformerBlock
from torch import Tensor, nn

from excise.errors import ExciseError


@dataclass(frozen=True)
class Site:
    """A linear layer (or 1x1 convolution) whose input is looked at and whose weight may be edited.

    Neuron i is input column ``first + i`` of the weight; the columns before and after are not the site's.
    """

    name: str
    """Dotted name of the layer in the denoiser."""
    outputs: int
    neurons: int
    first: int = 0

    @property
    def tensor(self) -> str:
        """Name of its weight in the checkpoint's files."""
        return f"{self.name}.weight"

    def matrix(self, weight: Tensor) -> Tensor:
        """The site's part ``(outputs, neurons)`` of its layer's weight, as a view of it."""
        return weight.flatten(1)[:, self.first : self.first + self.neurons]

    def tokens(self, inputs: Tensor) -> Tensor:
        """The site's part ``(rows, tokens, neurons)`` of its layer's input: of a convolution, a token is a pixel."""
        rows = inputs.flatten(2).transpose(1, 2) if inputs.dim() == 4 else inputs
        return rows[..., self.first : self.first + self.neurons]


FAMILIES = ("ffn", "ffn_first", "cross_value", "cross_key", "cross_output", "self_output")
"""Families of sites: the second linear layer of every FFN, where the published method edits; its first; what turns the
text into values or keys for the image to attend to; and the last layer of attention to the text, or to the image
itself. Joint attention, which is both at once, has its last layers, of image and text, in ``self_output``."""


@dataclass(frozen=True)
class Blocks:
    """A run of like blocks of a denoiser, and where the sites are in each."""

    names: Callable[[Any], Iterator[str]]
    """Dotted names of the blocks, as the forward pass meets them."""
    layers: Mapping[str, tuple[str, ...]]
    """Family to its layers in a block, in order; a family that is not named has none here."""
    first: Callable[[Any], int] = lambda _denoiser: 0
    """Input column that is neuron 0, in the family ``ffn``."""
    bare_end: tuple[str, ...] = ()
    """Layers that the last block lacks."""


def _unet_blocks(denoiser: Any) -> Iterator[str]:
    downs = [f"down_blocks.{i}" for i in range(len(denoiser.down_blocks))]
    ups = [f"up_blocks.{i}" for i in range(len(denoiser.up_blocks))]
    middle = [] if denoiser.mid_block is None else ["mid_block"]
    for block in (*downs, *middle, *ups):
        for i, attention in enumerate(getattr(denoiser.get_submodule(block), "attentions", None) or ()):
            if isinstance(attention, Transformer2DModel):
                for j in range(len(attention.transformer_blocks)):
                    yield f"{block}.attentions.{i}.transformer_blocks.{j}"


def _listed(name: str) -> Callable[[Any], Iterator[str]]:
    return lambda denoiser: (f"{name}.{i}" for i in range(len(getattr(denoiser, name))))


_FFN = {"ffn": ("ff.net.2",), "ffn_first": ("ff.net.0.proj",)}
_SELF = {"self_output": ("attn1.to_out.0",)}
_CROSS = {"cross_value": ("attn2.to_v",), "cross_key": ("attn2.to_k",), "cross_output": ("attn2.to_out.0",)} | _SELF
_JOINT: dict[str, tuple[str, ...]] = {
    "cross_value": ("attn.add_v_proj",),
    "cross_key": ("attn.add_k_proj",),
    "self_output": ("attn.to_out.0", "attn.to_add_out"),
}
_TWO_STREAMS = {
    "ffn": ("ff.net.2", "ff_context.net.2"),
    "ffn_first": ("ff.net.0.proj", "ff_context.net.0.proj"),
    **_JOINT,
}

ARCHITECTURES: dict[type[nn.Module], tuple[Blocks, ...]] = {
    UNet2DConditionModel: (Blocks(_unet_blocks, _FFN | _CROSS),),  # Stable Diffusion 1 and 2, SDXL
    SD3Transformer2DModel: (
        Blocks(
            _listed("transformer_blocks"),
            _TWO_STREAMS,
            bare_end=("ff_context.net.2", "ff_context.net.0.proj", "attn.to_add_out"),
        ),
    ),
    FluxTransformer2DModel: (
        Blocks(_listed("transformer_blocks"), _TWO_STREAMS),
        # Input of proj_out: attention's output, then the FFN's neurons.
        Blocks(
            _listed("single_transformer_blocks"),
            {"ffn": ("proj_out",), "ffn_first": ("proj_mlp",)},
            first=lambda denoiser: int(denoiser.inner_dim),
        ),
    ),
    PixArtTransformer2DModel: (Blocks(_listed("transformer_blocks"), _FFN | _CROSS),),
    HunyuanDiT2DModel: (Blocks(_listed("blocks"), _FFN | _CROSS),),
    # One FFN serves both streams, the image's and the text's.
    CogView4Transformer2DModel: (Blocks(_listed("transformer_blocks"), _FFN | _SELF),),
    QwenImageTransformer2DModel: (
        Blocks(
            _listed("transformer_blocks"),
            {"ffn": ("img_mlp.net.2", "txt_mlp.net.2"), "ffn_first": ("img_mlp.net.0.proj", "txt_mlp.net.0.proj")}
            | _JOINT,
        ),
    ),
    SanaTransformer2DModel: (
        Blocks(_listed("transformer_blocks"), {"ffn": ("ff.conv_point",), "ffn_first": ("ff.conv_inverted",)} | _CROSS),
    ),
}
SUPPORTED = ", ".join(sorted(architecture.__name__ for architecture in ARCHITECTURES))


def find_sites(denoiser: nn.Module, family: str = "ffn") -> tuple[Site, ...]:
    """The sites of a denoiser; within a run of blocks, in the order in which its forward pass meets them.

    Args:
        family: one of `FAMILIES`.

    Raises:
        ExciseError: an architecture that is not in the registry; no site; an FFN that the registry does not reach.
    """
    runs = ARCHITECTURES.get(type(denoiser))
    if runs is None:
        raise ExciseError(f"model.path: denoiser {type(denoiser).__name__} is not supported; supported: {SUPPORTED}")
    _refuse_unknown_ffns(denoiser, {name.rsplit(".", depth)[0] for name, depth in _ffns(denoiser, runs)})
    sites = [
        _site(denoiser, name, blocks.first(denoiser) if family == "ffn" else 0)
        for blocks in runs
        for name in _layers(denoiser, blocks, family)
    ]
    if not sites:
        raise ExciseError(f"collect.sites: a {type(denoiser).__name__} has no sites of the family {family!r}")
    return tuple(sites)


def all_sites(denoiser: nn.Module) -> tuple[Site, ...]:
    """The sites of every family that the architecture has: all that an edit may have changed.

    Raises:
        ExciseError: as `find_sites`.
    """
    runs = ARCHITECTURES.get(type(denoiser), ())
    found = [family for family in FAMILIES if family == "ffn" or any(family in blocks.layers for blocks in runs)]
    return tuple(site for family in found for site in find_sites(denoiser, family))


def _layers(denoiser: nn.Module, blocks: Blocks, family: str) -> Iterator[str]:
    names = list(blocks.names(denoiser))
    for block in names:
        for layer in blocks.layers.get(family, ()):
            if block != names[-1] or layer not in blocks.bare_end:
                yield f"{block}.{layer}"


def _ffns(denoiser: nn.Module, runs: tuple[Blocks, ...]) -> Iterator[tuple[str, int]]:
    """Second layers of all FFNs, and how many parts of the dotted name are inside the FFN's own module."""
    for blocks in runs:
        for name in _layers(denoiser, blocks, "ffn"):
            yield name, 2 if name.endswith(".net.2") else 1


def _refuse_unknown_ffns(denoiser: nn.Module, reached: set[str]) -> None:
    kinds = (FeedForward, GLUMBConv, FluxSingleTransformerBlock)
    present = {name for name, module in denoiser.named_modules() if isinstance(module, kinds)}
    if not reached or present != reached:
        odd = sorted(present.symmetric_difference(reached)) or ["none at all"]
        raise ExciseError(f"model.path: FFNs of this {type(denoiser).__name__} are not where they are known: {odd[0]}")


def _site(denoiser: nn.Module, name: str, first: int) -> Site:
    try:
        layer = denoiser.get_submodule(name)
    except AttributeError as error:
        raise ExciseError(f"collect.sites: this {type(denoiser).__name__} has no layer {name}") from error
    if type(layer) is nn.Linear:
        return Site(name, layer.out_features, layer.in_features - first, first)
    if type(layer) is nn.Conv2d and layer.kernel_size == (1, 1) and layer.groups == 1:
        return Site(name, layer.out_channels, layer.in_channels - first, first)
    raise ExciseError(f"model.path: {name} is a {type(layer).__name__}; only plain linear layers are edited")


def empty_denoiser(name: str, configuration: Mapping[str, Any], folder: Path) -> nn.Module:
    """The denoiser that a configuration describes, without its weights (on the meta device).

    Args:
        name: its class, by the checkpoint's index.
        configuration: content of its ``config.json``.
        folder: of that file, for messages.

    Raises:
        ExciseError: an architecture that is not in the registry; a configuration that describes no such network.
    """
    known: dict[str, Any] = {architecture.__name__: architecture for architecture in ARCHITECTURES}
    if name not in known:
        raise ExciseError(f"{folder}: denoiser {name} is not supported; supported: {SUPPORTED}")
    if not configuration:  # of nothing, diffusers would make its default network
        raise ExciseError(f"{folder / 'config.json'}: is empty or not there; fetch the checkpoint again")
    try:
        with torch.device("meta"):
            network: nn.Module = known[name].from_config(dict(configuration))
    except Exception as error:  # a network's constructor may raise anything at values that it does not expect
        raise ExciseError(
            f"{folder / 'config.json'}: describes no {name} ({type(error).__name__}: {error}); fetch it again"
        ) from error
    return network
