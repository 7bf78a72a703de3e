"""Denoisers of every supported architecture, real classes at tiny sizes with random weights, and inputs for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Tiny:
    """One architecture."""

    pipeline: str
    """A stock pipeline with a denoiser of this class."""
    config: dict[str, Any]
    inputs: Callable[[Callable[..., Tensor]], dict[str, Any]]
    """Arguments of one forward pass, from a source of noise."""
    ffns: int
    texts: tuple[str, ...] = ()
    """Parts of the names of sites that see text tokens alone."""


def _mask(rows: int, tokens: int) -> Tensor:
    return torch.ones(rows, tokens, dtype=torch.long)


def _ids(tokens: int) -> Tensor:
    return torch.stack([torch.zeros(tokens), torch.arange(tokens) // 4, torch.arange(tokens) % 4], dim=1).float()


LATENT: dict[str, Any] = {"sample_size": 8, "in_channels": 4, "out_channels": 4}
HEADS: dict[str, Any] = {"num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2}
TINY: dict[str, Tiny] = {
    "UNet2DConditionModel": Tiny(  # as SDXL: pooled text and sizes beside the timestep, two blocks a layer
        "StableDiffusionXLPipeline",
        {
            "sample_size": 8,
            "block_out_channels": (8, 16),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "layers_per_block": 1,
            "transformer_layers_per_block": (1, 2),
            "attention_head_dim": (2, 4),
            "norm_num_groups": 4,
            "cross_attention_dim": 12,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 6 * 4 + 10,
            "use_linear_projection": True,
        },
        lambda noise: {
            "sample": noise(2, 4, 8, 8),
            "timestep": torch.tensor(400),
            "encoder_hidden_states": noise(2, 7, 12),
            "added_cond_kwargs": {"text_embeds": noise(2, 10), "time_ids": torch.ones(2, 6)},
        },
        ffns=2 + 2 + 4,
    ),
    "SD3Transformer2DModel": Tiny(
        "StableDiffusion3Pipeline",
        {
            **LATENT,
            "num_layers": 3,
            "attention_head_dim": 4,
            "num_attention_heads": 3,
            "joint_attention_dim": 16,
            "caption_projection_dim": 12,
            "pooled_projection_dim": 10,
            "pos_embed_max_size": 8,
            "qk_norm": "rms_norm",
            "dual_attention_layers": (0,),
        },
        lambda noise: {
            "hidden_states": noise(2, 4, 8, 8),
            "encoder_hidden_states": noise(2, 7, 16),
            "pooled_projections": noise(2, 10),
            "timestep": torch.tensor([400.0, 400.0]),
        },
        ffns=3 + 2,
        texts=("ff_context",),
    ),
    "FluxTransformer2DModel": Tiny(
        "FluxPipeline",
        {
            "in_channels": 16,
            **HEADS,
            "num_single_layers": 3,
            "joint_attention_dim": 12,
            "pooled_projection_dim": 10,
            "guidance_embeds": True,
            "axes_dims_rope": (4, 2, 2),
        },
        lambda noise: {
            "hidden_states": noise(2, 16, 16),
            "encoder_hidden_states": noise(2, 7, 12),
            "pooled_projections": noise(2, 10),
            "timestep": torch.tensor([0.4, 0.4]),
            "img_ids": _ids(16),
            "txt_ids": torch.zeros(7, 3),
            "guidance": torch.tensor([3.5, 3.5]),
        },
        ffns=2 * 2 + 3,
        texts=("ff_context",),
    ),
    "PixArtTransformer2DModel": Tiny(
        "PixArtAlphaPipeline",
        {
            "sample_size": 8,
            "num_layers": 2,
            "attention_head_dim": 4,
            "num_attention_heads": 3,
            "cross_attention_dim": 12,
            "caption_channels": 10,
            "use_additional_conditions": False,
        },
        lambda noise: {
            "hidden_states": noise(2, 4, 8, 8),
            "encoder_hidden_states": noise(2, 7, 10),
            "timestep": torch.tensor([400, 400]),
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
        },
        ffns=2,
    ),
    "HunyuanDiT2DModel": Tiny(
        "HunyuanDiTPipeline",
        {
            "sample_size": 8,
            "patch_size": 2,
            "in_channels": 4,
            "num_layers": 4,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "hidden_size": 16,
            "cross_attention_dim": 12,
            "cross_attention_dim_t5": 16,
            "pooled_projection_dim": 8,
            "text_len": 5,
            "text_len_t5": 6,
            "activation_fn": "gelu-approximate",
        },
        lambda noise: {
            "hidden_states": noise(2, 4, 8, 8),
            "timestep": torch.tensor([400.0, 400.0]),
            "encoder_hidden_states": noise(2, 5, 12),
            "text_embedding_mask": _mask(2, 5),
            "encoder_hidden_states_t5": noise(2, 6, 16),
            "text_embedding_mask_t5": _mask(2, 6),
            "image_meta_size": torch.ones(2, 6),
            "style": torch.zeros(2, dtype=torch.long),
        },
        ffns=4,
    ),
    "CogView4Transformer2DModel": Tiny(
        "CogView4Pipeline",
        {
            **LATENT,
            **HEADS,
            "text_embed_dim": 12,
            "time_embed_dim": 8,
            "condition_dim": 4,
            "pos_embed_max_size": 8,
            "rope_axes_dim": (8, 8),
        },
        lambda noise: {
            "hidden_states": noise(2, 4, 8, 8),
            "encoder_hidden_states": noise(2, 7, 12),
            "timestep": torch.tensor([400, 400]),
            "original_size": torch.tensor([[64.0, 64.0]] * 2),
            "target_size": torch.tensor([[64.0, 64.0]] * 2),
            "crop_coords": torch.zeros(2, 2),
        },
        ffns=2,
    ),
    "QwenImageTransformer2DModel": Tiny(
        "QwenImagePipeline",
        {
            "in_channels": 16,
            "out_channels": 4,
            **HEADS,
            "joint_attention_dim": 12,
            "axes_dims_rope": (4, 2, 2),
        },
        lambda noise: {
            "hidden_states": noise(2, 16, 16),
            "encoder_hidden_states": noise(2, 7, 12),
            "encoder_hidden_states_mask": _mask(2, 7),
            "timestep": torch.tensor([0.4, 0.4]),
            "img_shapes": [[(1, 4, 4)]] * 2,
        },
        ffns=4,
        texts=("txt_mlp",),
    ),
    "SanaTransformer2DModel": Tiny(
        "SanaPipeline",
        {
            **LATENT,
            **HEADS,
            "attention_head_dim": 6,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 6,
            "cross_attention_dim": 12,
            "caption_channels": 10,
        },
        lambda noise: {
            "hidden_states": noise(2, 4, 8, 8),
            "encoder_hidden_states": noise(2, 7, 10),
            "timestep": torch.tensor([400, 400]),
        },
        ffns=2,
    ),
}


def build(name: str) -> nn.Module:
    """A tiny denoiser; no weight is zero by initialisation, so that every site matters to the output."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = getattr(diffusers, name)(**TINY[name].config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def forward(model: nn.Module) -> Tensor:
    """One pass on fixed inputs."""
    generator = torch.Generator().manual_seed(1)
    inputs = TINY[type(model).__name__].inputs(lambda *shape: torch.randn(shape, generator=generator))
    with torch.no_grad():
        output: Tensor = model(**inputs, return_dict=False)[0]
    return output


def save(model: Any, folder: Path) -> Path:
    """The denoiser alone as a checkpoint folder: what stages that read no other component need."""
    component = "unet" if "UNet" in type(model).__name__ else "transformer"
    model.save_pretrained(folder / component)
    index = {"_class_name": TINY[type(model).__name__].pipeline, component: ["diffusers", type(model).__name__]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
