"""Denoising batches of prompts with the pipeline's own loop, from noise that belongs to prompt and seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from editor.diffusion.load import denoiser
from editor.recipe import Sampling


def noise_key(text: str, seed: int) -> int:
    """Seed of the noise of one image: 63 bits that depend on the prompt's text and the seed, and on nothing else."""
    digest = hashlib.sha256(f"{seed}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def initial_latents(pipeline: DiffusionPipeline, keys: Sequence[int]) -> Tensor:
    """Unit Gaussian noise ``(len(keys), channels, side, side)``, float32, on the CPU: one generator per image."""
    network: Any = denoiser(pipeline)
    config = network.config
    height, width = (config.sample_size,) * 2 if isinstance(config.sample_size, int) else config.sample_size
    shape = (config.in_channels, height, width)
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(key)) for key in keys])


def calls_of(pipeline: DiffusionPipeline, sampling: Sampling) -> int:
    """Denoiser calls of a full generation: its timesteps, of which some schedulers have more than steps."""
    pipeline.scheduler.set_timesteps(sampling.steps)
    return len(pipeline.scheduler.timesteps)


def _step_generators(latents: Tensor) -> list[torch.Generator]:
    """One generator per image for a scheduler that adds noise as it goes, keyed by the image's own latent."""
    digests = [hashlib.sha256(latent.numpy().tobytes()).digest() for latent in latents.to("cpu", torch.float32)]
    return [torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1) for digest in digests]


@torch.no_grad()
def denoise(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    latents: Tensor,
    sampling: Sampling,
    calls: int | None = None,
    on_call: Callable[[int], None] | None = None,
    decode: bool = True,
) -> Tensor:
    """Denoise one batch.

    Args:
        pipeline: as `load_pipeline` gives it.
        prompts: one text per image.
        latents: ``(n, channels, side, side)`` unit noise, as `initial_latents` gives it.
        sampling: steps and guidance; ``batch`` is not looked at.
        calls: stop after so many denoiser calls, by diffusers' own interrupt; None goes to the end.
        on_call: called with the index of each denoiser call when that call is over.
        decode: decode to images; without it the autoencoder is not run.

    Returns:
        float32 on the CPU: images ``(n, 3, height, width)`` in [0, 1], or latents shaped as ``latents``.
    """

    def after_call(running: Any, call: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        if on_call is not None:
            on_call(call)
        if calls is not None and call + 1 >= calls:
            running._interrupt = True
        return {}

    network: Any = denoiser(pipeline)
    output = pipeline(
        list(prompts),
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.guidance,
        latents=latents.to(pipeline.device, network.dtype),
        generator=_step_generators(latents),
        output_type="pt" if decode else "latent",
        callback_on_step_end=after_call,
    ).images
    return torch.as_tensor(output).to("cpu", torch.float32)


def generate(pipeline: DiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> Tensor:
    """One image per (prompt, seed) pair: ``(len(prompts), 3, height, width)`` float32 in [0, 1], on the CPU.

    Pairs are taken in order, ``sampling.batch`` at a time; an image does not depend on the others of its batch
    beyond rounding.
    """
    pairs = list(zip(prompts, seeds, strict=True))
    images = []
    for start in range(0, len(pairs), sampling.batch):
        part = pairs[start : start + sampling.batch]
        latents = initial_latents(pipeline, [noise_key(text, seed) for text, seed in part])
        images.append(denoise(pipeline, [text for text, _ in part], latents, sampling))
    return torch.cat(images)
