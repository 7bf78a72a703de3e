"""Prompt replay: ask for each training caption as it stands, at many seeds. The weakest attack, and the first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DiffusionPipeline
from torch import Tensor
from tqdm import tqdm

from editor.diffusion.denoise import generate
from editor.errors import ExciseError
from editor.recipe import Sampling


def replay(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    progress: tqdm[None] | None = None,
) -> Tensor:
    """Images of every prompt at every seed; noise is keyed by (prompt, seed), so models are compared image by image.

    Args:
        progress: a bar that advances by one for each image.

    Returns:
        uint8 (prompts, seeds, 3, height, width) on the CPU.

    Raises:
        ExciseError: the model gives NaN or infinite pixels.
    """
    pairs = [(prompt, seed) for prompt in prompts for seed in seeds]
    made = []
    for start in range(0, len(pairs), sampling.batch):
        made.append(replay_pairs(pipeline, pairs[start : start + sampling.batch], sampling))
        if progress is not None:
            progress.update(len(made[-1]))
    images = torch.cat(made)
    return images.view(len(prompts), len(seeds), *images.shape[1:])


def replay_pairs(pipeline: DiffusionPipeline, pairs: Sequence[tuple[str, int]], sampling: Sampling) -> Tensor:
    """Images of (prompt, seed) pairs: uint8 (pairs, 3, height, width) on the CPU.

    Raises:
        ExciseError: the model gives NaN or infinite pixels.
    """
    images = generate(pipeline, [prompt for prompt, _ in pairs], [seed for _, seed in pairs], sampling)
    if not images.isfinite().all():
        raise ExciseError(
            f"the model gives NaN or infinite pixels for {pairs[0][0]!r}; choose model.dtype = 'float32', "
            "or a milder edit"
        )
    return (images.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu()
