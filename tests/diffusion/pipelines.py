"""Whole pipelines of every family, real classes at tiny sizes with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from tests.conftest import build_tiny_pipeline, clip, clip_tokenizer
from tests.diffusion.architectures import TINY
from tests.diffusion.encoders import bert, gemma, glm, qwen, t5


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
    widths = {"cross_attention_dim": 32, "projection_class_embeddings_input_dim": 6 * 4 + 16}
    config = TINY["UNet2DConditionModel"].config | widths
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(4),
        text_encoder=clip(tokenizer, 16, False),
        text_encoder_2=clip(tokenizer, 16, True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=diffusers.UNet2DConditionModel(**config),
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
    widths = {"joint_attention_dim": 16, "pooled_projection_dim": 16}
    config = TINY["FluxTransformer2DModel"].config | widths | {"num_layers": 1, "num_single_layers": 2}
    return diffusers.FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae(4),
        text_encoder=clip(tokenizer, 16, False),
        tokenizer=tokenizer,
        text_encoder_2=encoder,
        tokenizer_2=spelling,
        transformer=diffusers.FluxTransformer2DModel(**config),
    )


def pixart() -> DiffusionPipeline:
    """PixArt-alpha: the older kind of callback, a caption mask."""
    encoder, spelling = t5(16)
    config = TINY["PixArtTransformer2DModel"].config | {"caption_channels": 16}
    return diffusers.PixArtAlphaPipeline(
        tokenizer=spelling,
        text_encoder=encoder,
        vae=vae(4),
        transformer=diffusers.PixArtTransformer2DModel(**config),
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    )


def pixart_sigma() -> DiffusionPipeline:
    """PixArt-sigma: the same parts, by another pipeline."""
    return diffusers.PixArtSigmaPipeline(**pixart().components)


def hunyuan() -> DiffusionPipeline:
    """HunyuanDiT: BERT and T5 side by side, noise at every step."""
    (encoder, spelling), (encoder_2, spelling_2) = bert(12), t5(16)
    config = TINY["HunyuanDiT2DModel"].config | {"text_len": 77, "text_len_t5": 256}
    return diffusers.HunyuanDiTPipeline(
        vae=vae(4),
        text_encoder=encoder,
        tokenizer=spelling,
        text_encoder_2=encoder_2,
        tokenizer_2=spelling_2,
        transformer=diffusers.HunyuanDiT2DModel(**config),
        scheduler=diffusers.DDPMScheduler(beta_end=0.018, prediction_type="v_prediction", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def cogview4() -> DiffusionPipeline:
    """CogView4: a language model's states, guidance in a second pass, text padded to the longest of the batch."""
    encoder, spelling = glm(12)
    return diffusers.CogView4Pipeline(
        tokenizer=spelling,
        text_encoder=encoder,
        vae=vae(4),
        transformer=diffusers.CogView4Transformer2DModel(**TINY["CogView4Transformer2DModel"].config),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75, time_shift_type="linear"
        ),
    )


def qwenimage() -> DiffusionPipeline:
    """QwenImage: as CogView4, with masked padding, true guidance and a video autoencoder."""
    encoder, tokenizer = qwen(12)
    return diffusers.QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02),
        vae=diffusers.AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        text_encoder=encoder,
        tokenizer=tokenizer,
        transformer=diffusers.QwenImageTransformer2DModel(**TINY["QwenImageTransformer2DModel"].config),
    )


def sana() -> DiffusionPipeline:
    """Sana: an instruction before the prompt, FFNs of convolutions, a deep autoencoder."""
    encoder, tokenizer = gemma(10)
    return diffusers.SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=diffusers.AutoencoderDC(
            latent_channels=4,
            encoder_block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            encoder_layers_per_block=(1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1),
            encoder_qkv_multiscales=((), (), (), ()),
            decoder_qkv_multiscales=((), (), (), ()),
        ),
        transformer=diffusers.SanaTransformer2DModel(**TINY["SanaTransformer2DModel"].config),
        scheduler=diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd14": lambda: build_tiny_pipeline(seed=0),
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "pixart": pixart,
    "hunyuan": hunyuan,
    "cogview4": cogview4,
    "qwenimage": qwenimage,
    "sana": sana,
}

MORE: dict[str, Callable[[], DiffusionPipeline]] = {"pixart_sigma": pixart_sigma}
"""Pipelines of a family that is there already."""


def save(family: str, folder: Path) -> Path:
    """A checkpoint folder of the family."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = (FAMILIES | MORE)[family]()
        network: Any = getattr(pipeline, "unet", None) or pipeline.transformer
        with torch.no_grad():
            for parameter in network.parameters():  # some start at zero, and then nothing reaches the output
                parameter.add_(0.05 * torch.randn_like(parameter))
    pipeline.save_pretrained(folder)
    return folder
