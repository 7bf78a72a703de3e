"""The latents of an image, as a pipeline's denoiser sees them."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.load import execution_device

SHIFTED = ("StableDiffusion3Pipeline", "FluxPipeline")
"""Pipelines that decode latents moved by their autoencoder's ``shift_factor``; the others take no notice of it."""
PACKED = ("FluxPipeline",)
"""Pipelines whose denoiser sees patches of latents as tokens."""


@torch.no_grad()
def latents_of(pipeline: DiffusionPipeline, image: Tensor) -> Tensor:
    """The latents of an image, in the layout and scale of what the pipeline denoises: the mean of the encoder.

    Args:
        pipeline: the model.
        image: float ``(3, height, width)`` in [0, 1], of a size that it draws.

    Returns:
        ``(...)``, one row without the batch's dimension, in float32 or better, where the denoiser computes.
    """
    run: Any = pipeline
    vae, device = run.vae, execution_device(pipeline)
    overflows = vae.dtype == torch.float16  # some do; back from float32 they have the same bits
    if overflows:
        vae.to(torch.float32)
    found = vae.encode((2.0 * image[None] - 1.0).to(device, vae.dtype))
    if overflows:
        vae.to(torch.float16)
    encoded = found.latent if hasattr(found, "latent") else found.latent_dist.mode()
    return scaled(pipeline, encoded)[0]


def scaled(pipeline: DiffusionPipeline, encoded: Tensor) -> Tensor:
    """What an autoencoder gives, ``(rows, channels, height, width)``, as the denoiser sees it."""
    run: Any = pipeline
    name, config = type(pipeline).__name__, run.vae.config
    found = encoded.to(torch.promote_types(encoded.dtype, torch.float32))
    mean, deviation = [config.get(key) for key in ("latents_mean", "latents_std")]
    if mean is not None and deviation is not None:
        mean, deviation = (found.new_tensor(value).view(1, -1, 1, 1) for value in (mean, deviation))
        found = (found - mean) / deviation
    if name in SHIFTED and config.get("shift_factor"):
        found = found - config.shift_factor
    found = found * config.scaling_factor
    return run._pack_latents(found, *found.shape) if name in PACKED else found  # type: ignore[no-any-return]
