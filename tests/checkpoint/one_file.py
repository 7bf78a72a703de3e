"""Tiny pipelines of Stable Diffusion 1, 2 and XL that are built as the large ones are, and their weights as one file.

Four or three levels, of which some have no attention; two layers a level; text encoders with the activations of their
families, those of XL of two widths, by which diffusers tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from excise.checkpoint.tensorfile import DTYPES, read_header
from tests.conftest import clip_tokenizer

PLAIN_WEIGHTS = "model.safetensors"
"""Name of a text encoder's file."""
PLAIN = "DownBlock2D", "UpBlock2D"
CROSS = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"


def text(tokenizer: CLIPTokenizer, width: int, activation: str, projected: bool = False) -> Any:
    """A text encoder of three layers."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=24,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def unet(levels: tuple[tuple[str, str], ...], context: int, **more: Any) -> UNet2DConditionModel:
    """Of levels from the first to the innermost."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 24, 24)[: len(levels)],
        down_block_types=tuple(down for down, _ in levels),
        up_block_types=tuple(up for _, up in reversed(levels)),
        layers_per_block=2,
        norm_num_groups=4,
        cross_attention_dim=context,
        **{"attention_head_dim": 2} | more,
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        norm_num_groups=2,
        layers_per_block=2,
        latent_channels=4,
        sample_size=64,
    )


def _plain(network: UNet2DConditionModel, encoder: Any, tokenizer: CLIPTokenizer, **more: Any) -> DiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=network,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1, **more),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd1() -> DiffusionPipeline:
    tokenizer = clip_tokenizer()
    return _plain(unet((CROSS, CROSS, CROSS, PLAIN), 16), text(tokenizer, 16, "quick_gelu"), tokenizer)


def sd2() -> DiffusionPipeline:
    """Linear projections, heads by level, OpenCLIP's activation, and a prediction that is not of noise."""
    tokenizer = clip_tokenizer()
    network = unet((CROSS, CROSS, CROSS, PLAIN), 16, use_linear_projection=True, attention_head_dim=(1, 2, 2, 4))
    return _plain(network, text(tokenizer, 16, "gelu"), tokenizer, prediction_type="v_prediction")


def xl() -> DiffusionPipeline:
    """Several transformer blocks a layer, pooled text and sizes as conditions."""
    tokenizer = clip_tokenizer()
    conditions = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
    widths = {"projection_class_embeddings_input_dim": 6 * 4 + 24, "transformer_layers_per_block": (1, 2, 3)}
    network = unet((PLAIN, CROSS, CROSS), 16 + 24, use_linear_projection=True, **conditions, **widths)
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=text(tokenizer, 16, "quick_gelu"),
        text_encoder_2=text(tokenizer, 24, "gelu", projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=network,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="leading"),
    )


ORIGINALS: dict[str, Callable[[], DiffusionPipeline]] = {"sd1": sd1, "sd2": sd2, "xl": xl}


def save(family: str, folder: Path, dtype: torch.dtype = torch.float32, variant: str | None = None) -> Path:
    """A checkpoint folder of the family, with random weights that are the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = ORIGINALS[family]()
    pipeline.to(dtype).save_pretrained(folder, variant=variant)
    return folder


def weights_of(pipeline: DiffusionPipeline) -> dict[str, dict[str, Tensor]]:
    """Every tensor of every network, by component."""
    networks = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    return {name: network.state_dict() for name, network in networks.items()}


def loaded(path: Path, configuration: Path) -> DiffusionPipeline:
    """What diffusers reads of a single file, offline, in the dtype in which it is stored."""
    stored = {entry.dtype for entry in read_header(path).values()}
    assert len(stored) == 1
    kind = StableDiffusionXLPipeline if (configuration / "text_encoder_2").is_dir() else StableDiffusionPipeline
    dtype = DTYPES[stored.pop()]
    return kind.from_single_file(str(path), config=str(configuration), dtype=dtype, local_files_only=True)
