"""Whole pipelines of several families, real classes at tiny sizes with random weights."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from tests.conftest import build_tiny_pipeline, clip, clip_tokenizer


def t5(width: int) -> tuple[T5EncoderModel, T5Tokenizer]:
    """A T5 encoder, and a tokenizer that spells."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    tokenizer = T5Tokenizer(
        vocab=[*pieces, *((letter, -3.0) for letter in string.ascii_lowercase)], extra_ids=0, model_max_length=64
    )
    config = T5Config(vocab_size=64, d_model=width, d_kv=4, d_ff=2 * width, num_layers=2, num_heads=2)
    return T5EncoderModel(config), tokenizer


def vae(channels: int) -> AutoencoderKL:
    """An autoencoder of factor 8."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        norm_num_groups=2,
        layers_per_block=1,
        latent_channels=channels,
        sample_size=64,
        shift_factor=0.1,
    )


def sdxl() -> DiffusionPipeline:
    """Stable Diffusion XL: two text encoders, pooled text, sizes as conditions."""
    tokenizer = clip_tokenizer()
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(4),
        text_encoder=clip(tokenizer, 16, False),
        text_encoder_2=clip(tokenizer, 16, True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            transformer_layers_per_block=(1, 2),
            attention_head_dim=(2, 4),
            norm_num_groups=4,
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + 16,
            use_linear_projection=True,
        ),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="leading"),
    )


def sd3() -> DiffusionPipeline:
    """Stable Diffusion 3: three text encoders, a joint transformer, flow matching."""
    tokenizer, (encoder, spelling) = clip_tokenizer(), t5(32)
    return diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=4,
            num_attention_heads=3,
            joint_attention_dim=32,
            caption_projection_dim=12,
            pooled_projection_dim=32,
            pos_embed_max_size=8,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(4),
        text_encoder=clip(tokenizer, 16, True),
        tokenizer=tokenizer,
        text_encoder_2=clip(tokenizer, 16, True),
        tokenizer_2=tokenizer,
        text_encoder_3=encoder,
        tokenizer_3=spelling,
    )


def flux() -> DiffusionPipeline:
    """Flux: guidance as an input of the model, timesteps that depend on the size."""
    tokenizer, (encoder, spelling) = clip_tokenizer(), t5(16)
    return diffusers.FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae(4),
        text_encoder=clip(tokenizer, 16, False),
        tokenizer=tokenizer,
        text_encoder_2=encoder,
        tokenizer_2=spelling,
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            guidance_embeds=True,
            axes_dims_rope=(4, 2, 2),
        ),
    )


def pixart() -> DiffusionPipeline:
    """PixArt-alpha: the older kind of callback, a caption mask."""
    encoder, spelling = t5(16)
    return diffusers.PixArtAlphaPipeline(
        tokenizer=spelling,
        text_encoder=encoder,
        vae=vae(4),
        transformer=diffusers.PixArtTransformer2DModel(
            sample_size=8,
            num_layers=2,
            attention_head_dim=4,
            num_attention_heads=3,
            cross_attention_dim=12,
            caption_channels=16,
            use_additional_conditions=False,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    )


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd14": lambda: build_tiny_pipeline(seed=0),
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "pixart": pixart,
}


def save(family: str, folder: Path) -> Path:
    """A checkpoint folder of the family."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = FAMILIES[family]()
        network: Any = getattr(pipeline, "unet", None) or pipeline.transformer
        with torch.no_grad():
            for parameter in network.parameters():  # some start at zero, and then nothing reaches the output
                parameter.add_(0.05 * torch.randn_like(parameter))
    pipeline.save_pretrained(folder)
    return folder
