"""Prompt replay: ask for each training caption as it stands, at many seeds. The weakest attack, and the first."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from diffusers import DiffusionPipeline
from torch import Tensor
from tqdm import tqdm

from excise.attacks.base import Budget, Found, Target, Trigger
from excise.diffusion.denoise import denoise, generate, noise_key
from excise.diffusion.load import denoiser
from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.recipe import Sampling


def find(pipeline: DiffusionPipeline, targets: Sequence[Target], budget: Budget) -> Generator[Found, None, None]:
    """Each target's own caption, whatever the budget."""
    triggers = [Trigger(target.prompt, target.prompt.text) for target in targets]
    yield from (Found(point, triggers) for point in budget.points)


def draw(pipeline: DiffusionPipeline, pairs: Sequence[tuple[Trigger, int]], sampling: Sampling) -> Tensor:
    """What the model draws when asked for the triggers' texts; as `excise.attacks.base.Attack.draw`.

    Noise is keyed by the target's prompt and the seed, so models and attacks are compared image by image.
    """
    texts, seeds = [trigger.text for trigger, _ in pairs], [seed for _, seed in pairs]
    images = generate(pipeline, texts, seeds, sampling, [trigger.target.text for trigger, _ in pairs])
    return as_pixels(pipeline, images, pairs, sampling)


def as_pixels(
    pipeline: DiffusionPipeline, images: Tensor, pairs: Sequence[tuple[Trigger, int]], sampling: Sampling
) -> Tensor:
    """Images as they are kept: uint8 ``(pairs, 3, height, width)`` on the CPU.

    Args:
        pipeline: drew them.
        images: float ``(pairs, 3, height, width)``.
        pairs: what each was asked by.
        sampling: how it was drawn.

    Raises:
        ExciseError: NaN or infinite pixels; names the prompt.
    """
    for (trigger, seed), image in zip(pairs, images, strict=True):
        if not image.isfinite().all():
            raise ExciseError(_blame(pipeline, trigger.text, seed, sampling))
    return (images.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu()


def _blame(pipeline: DiffusionPipeline, text: str, seed: int, sampling: Sampling) -> str:
    """Which part of the model gives broken pixels, and what to do: the image is denoised again, and not decoded."""
    latents = denoise(pipeline, [text], [noise_key(text, seed)], sampling, decode=False)
    dtype = str(denoiser(pipeline).dtype).removeprefix("torch.")
    cure = "a milder edit" if dtype == "float32" else "model.dtype = 'float32', or a milder edit"
    if latents.isfinite().all():
        return f"vae: NaN or infinite pixels in {dtype}, of latents that are finite, for {text!r}; choose {cure}"
    return f"denoiser or text encoder: NaN or infinite latents in {dtype} for {text!r}; choose {cure}"


def replay(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    progress: tqdm[None] | None = None,
) -> Tensor:
    """Images of every text at every seed.

    Args:
        pipeline: the model.
        prompts: texts.
        seeds: the same for each text.
        sampling: as in the recipe.
        progress: a bar that advances by one for each image.

    Returns:
        uint8 ``(prompts, seeds, 3, height, width)`` on the CPU.

    Raises:
        ExciseError: the model gives NaN or infinite pixels.
    """
    pairs = [(Trigger(Prompt(text), text), seed) for text in prompts for seed in seeds]
    made = []
    for start in range(0, len(pairs), sampling.batch):
        made.append(draw(pipeline, pairs[start : start + sampling.batch], sampling))
        if progress is not None:
            progress.update(len(made[-1]))
    images = torch.cat(made)
    return images.view(len(prompts), len(seeds), *images.shape[1:])
