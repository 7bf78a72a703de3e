"""Names in the original layout of Stable Diffusion 1, 2 and XL for the tensors of a diffusers folder.

diffusers converts in the other direction only. Where it has a table, the table is turned round; where it has code, the
inverse stands here. None of these names is believed before diffusers' conversion has led it back: see export.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from diffusers.loaders import single_file_utils as library

from excise.checkpoint.original import OPEN_CLIP
from excise.diffusion.components import TEXT_MODEL

Names = Callable[[str], "Original"]
"""Maps the name of a component's tensor to its place in the original layout."""


@dataclass(frozen=True)
class Original:
    """Where a tensor goes."""

    name: str
    part: int = 0
    """Which of ``parts`` tensors it is that stand one above the other in the original one."""
    parts: int = 1
    transposed: bool = False
    ones: int = 0
    """Dimensions of length one that the original has behind its own."""


_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_AUTOENCODER_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_MERGED = {"q_proj": 0, "k_proj": 1, "v_proj": 2}


def unet_names(config: Any, names: Collection[str]) -> Names:
    """Of a UNet with this configuration and these tensors."""
    table = library.DIFFUSERS_TO_LDM_MAPPING["unet"]
    known: dict[str, str] = dict(table["layers"])
    for key in ("class_embed_type", "addition_embed_type"):
        known |= table[key] if config[key] else {}
    stride = config["layers_per_block"] + 1
    attended = {int(name.split(".")[1]) for name in names if re.match(r"up_blocks\.\d+\.attentions\.", name)}

    def place(match: re.Match[str]) -> str:
        way, block, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        layer = config["layers_per_block"] if kind.endswith("samplers") else layer  # they stand behind all layers
        rest = _renamed_first(rest, _RESNET) if kind == "resnets" else rest
        if way == "down":
            rest = rest.replace("conv.", "op.", 1) if kind == "downsamplers" else rest
            return f"input_blocks.{1 + block * stride + layer}.{int(kind == 'attentions')}.{rest}"
        index = {"resnets": 0, "attentions": 1}.get(kind, 1 + (block in attended))
        return f"output_blocks.{block * stride + layer}.{index}.{rest}"

    def middle(match: re.Match[str]) -> str:
        if match[1] == "attentions":
            return f"middle_block.1.{match[3]}"
        return f"middle_block.{2 * int(match[2])}.{_renamed_first(match[3], _RESNET)}"

    def original(name: str) -> Original:
        found = known.get(name, name)
        found = re.sub(r"^(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", place, found)
        found = re.sub(r"^mid_block\.(\w+)\.(\d+)\.(.+)", middle, found)
        return Original(library.LDM_UNET_KEY + found)

    return original


def _renamed_first(rest: str, table: dict[str, str]) -> str:
    """The name of a layer's tensor, the layer renamed."""
    layer, _, kind = rest.rpartition(".")
    return f"{table.get(layer, layer)}.{kind}"


def autoencoder_names(config: Any) -> Names:
    """Of an autoencoder with this configuration."""
    known: dict[str, str] = library.DIFFUSERS_TO_LDM_MAPPING["vae"]
    last = len(config["up_block_types"]) - 1

    def place(match: re.Match[str]) -> str:
        way, block, kind, rest = match[1], int(match[2]), match[3], match[4]
        block = last - block if way == "up" else block
        if kind == "resnets":
            return f"{way}.{block}.block.{rest}".replace("conv_shortcut", "nin_shortcut")
        return f"{way}.{block}.{way}sample.{rest.removeprefix('0.')}"

    def original(name: str) -> Original:
        found = known.get(name, name)
        found = re.sub(r"(down|up)_blocks\.(\d+)\.(\w+)\.(.+)", place, found)
        found = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", found)
        layer, mark, rest = found.partition("mid_block.attentions.0.")
        found = f"{layer}mid.attn_1.{_renamed_first(rest, _AUTOENCODER_ATTENTION)}" if mark else found
        convolution = bool(mark) and rest.endswith("weight") and not rest.startswith("group_norm")
        return Original(library.LDM_VAE_KEYS[0] + found, ones=2 * convolution)

    return original


def clip_names(prefix: str) -> Names:
    """Of a text encoder as transformers names its tensors."""
    return lambda name: Original(f"{prefix}{TEXT_MODEL}{name.removeprefix(TEXT_MODEL)}")


def open_clip_names(prefix: str) -> Names:
    """Of a text encoder as OpenCLIP names its tensors."""
    table = library.DIFFUSERS_TO_LDM_MAPPING["openclip"]

    def original(name: str) -> Original:
        full = name if name.startswith("text_projection") else TEXT_MODEL + name.removeprefix(TEXT_MODEL)
        if full in table["layers"]:
            return Original(prefix + table["layers"][full], transposed=full.startswith("text_projection"))
        for ours, theirs in table["transformer"].items():
            full = full.replace(ours, theirs)
        layer, _, last = full.rpartition(".")
        module, _, projection = layer.rpartition(".")
        if projection in _MERGED:
            return Original(f"{prefix}transformer.{module}.in_proj_{last}", _MERGED[projection], len(_MERGED))
        return Original(f"{prefix}transformer.{full}")

    return original


def text_names(component: str, activation: str, both: bool) -> Names:
    """Of a text encoder.

    Args:
        component: its name in the pipeline.
        activation: of its FFNs, by its configuration: OpenAI's CLIP has ``quick_gelu``, OpenCLIP ``gelu``.
        both: whether the pipeline has two, as XL has.
    """
    if component == "text_encoder_2":
        return open_clip_names(OPEN_CLIP[1])
    if both or activation == "quick_gelu":
        return clip_names(library.LDM_CLIP_PREFIX_TO_REMOVE[both])
    return open_clip_names(OPEN_CLIP[0])
