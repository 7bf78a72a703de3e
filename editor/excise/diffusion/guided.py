"""How far a prompt moves what a model says from what it says without one, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from excise.diffusion.denoise import denoise, in_batches, text_lengths
from excise.diffusion.load import denoiser
from excise.errors import ExciseError
from excise.recipe import Sampling

UNGUIDED = ("FluxPipeline",)
"""Pipelines whose guidance is an input of the model: there is nothing that is said without the prompt."""


def check_guided(pipeline: str) -> None:
    """Refuse a pipeline that says nothing without the prompt.

    Raises:
        ExciseError: it is of `UNGUIDED`.
    """
    if pipeline in UNGUIDED:
        raise ExciseError(
            f"attack.prompt.ways: 'gibbs' compares what a model says with and without the prompt, and a {pipeline}, "
            "whose guidance is an input, is never asked without: leave 'gibbs' out"
        )


def guided_difference(
    pipeline: DiffusionPipeline, texts: Sequence[str], keys: Sequence[int], sampling: Sampling
) -> Tensor:
    """Mean square of the difference between the prediction with each prompt and without one, at the first call, where
    latents are noise (Wen et al. 2024, the square of their metric at one call).

    Args:
        pipeline: draws with guidance by rows without the prompt, then rows with it.
        texts: prompts.
        keys: seed of the noise of each.
        sampling: steps, size, and how many go together.

    Returns:
        Float32 ``(texts,)`` on the CPU.
    """
    check_guided(type(pipeline).__name__)
    guided, seen = sampling.model_copy(update={"guidance": 2.0}), []

    def look(_network: nn.Module, _inputs: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output.sample)

    def make(start: int, stop: int) -> Tensor:
        seen.clear()
        denoise(pipeline, texts[start:stop], keys[start:stop], guided, calls=1, decode=False)
        without, given = seen[0].float().chunk(2)
        found: Tensor = (given - without).square().flatten(1).mean(dim=1)
        return found.cpu()

    hook = denoiser(pipeline).register_forward_hook(look)
    try:
        return torch.cat(list(in_batches(make, text_lengths(pipeline, texts), sampling.batch)))
    finally:
        hook.remove()
