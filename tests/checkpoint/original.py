"""A tiny Stable Diffusion 1 checkpoint as one file in the layout of the original repository."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _unet_name(name: str, layers: int) -> str:
    """Name of a UNet's tensor in the original layout; ``layers`` is ``layers_per_block``."""
    module, _, kind = name.rpartition(".")
    if module in UNET:
        return f"{UNET[module]}.{kind}"
    for ours, theirs in RESNET.items():
        name = re.sub(rf"(resnets\.\d+)\.{ours}\.", rf"\1.{theirs}.", name)

    def place(match: re.Match[str]) -> str:
        where, block, part, layer = match[1], int(match[2]), match[3], int(match[4])
        if where == "down":
            index = 1 + block * (layers + 1) + (layers if part == "downsamplers" else layer)
            return f"input_blocks.{index}." + {"resnets": "0", "attentions": "1", "downsamplers": "0"}[part]
        index = block * (layers + 1) + (layers if part == "upsamplers" else layer)
        return f"output_blocks.{index}." + {"resnets": "0", "attentions": "1", "upsamplers": "2"}[part]

    name = re.sub(r"^(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)", place, name)
    name = re.sub(r"(input_blocks\.\d+\.0)\.conv\.", r"\1.op.", name)
    name = re.sub(r"^mid_block\.resnets\.(\d)", lambda found: f"middle_block.{2 * int(found[1])}", name)
    return name.replace("mid_block.attentions.0", "middle_block.1")


def _vae_name(name: str, blocks: int) -> str:
    for ours, theirs in VAE_ATTENTION.items():
        name = name.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda found: f"up.{blocks - 1 - int(found[1])}.block.", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{blocks - 1 - int(found[1])}.upsample", name)
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def save_original(pipeline: StableDiffusionPipeline, path: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write the pipeline's weights as one file."""
    tensors: dict[str, Tensor] = {}
    layers, blocks = pipeline.unet.config.layers_per_block, len(pipeline.vae.config.up_block_types)
    for name, value in pipeline.unet.state_dict().items():
        tensors[f"model.diffusion_model.{_unet_name(name, layers)}"] = value
    for name, value in pipeline.vae.state_dict().items():
        attention = "attentions" in name and "norm" not in name and name.endswith("weight")
        tensors[f"first_stage_model.{_vae_name(name, blocks)}"] = value[:, :, None, None] if attention else value
    for name, value in pipeline.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    save_file({name: value.to(dtype).contiguous() for name, value in tensors.items()}, path)
    return path
