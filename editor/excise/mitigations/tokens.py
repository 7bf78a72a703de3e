"""Random tokens in the prompt (Somepalli et al. 2023, arXiv 2305.20086): an image need not be what its caption names.

Each image has random tokens of its own, at random places. They cost nothing but what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DiffusionPipeline

from excise.diffusion.denoise import generate, noise_key
from excise.diffusion.tokens import Vocabulary
from excise.errors import ExciseError
from excise.mitigations.base import Drawn, Mitigating


def draw(pipeline: DiffusionPipeline, texts: Sequence[str], seeds: Sequence[int], settings: Mitigating) -> Drawn:
    """Draw with random tokens put in; as `excise.mitigations.base.Mitigation.draw`."""
    vocabulary = Vocabulary(pipeline)
    told = tuple(
        disturbed(vocabulary, text, settings.tokens, torch.Generator().manual_seed(noise_key(f"tokens\n{text}", seed)))
        for text, seed in zip(texts, seeds, strict=True)
    )
    images = generate(pipeline, told, seeds, settings.sampling, targets=texts)
    if not bool(images.isfinite().all()):
        raise ExciseError("NaN or infinite pixels; use --dtype float32")
    calls = torch.full((len(texts),), settings.sampling.steps)
    return Drawn((255 * images).round().to(torch.uint8), calls, torch.zeros_like(calls), told)


def disturbed(vocabulary: Vocabulary, text: str, count: int, random: torch.Generator) -> str:
    """The text with random tokens at random places, as many of them as make a text that can be typed."""
    for _ in range(count):
        text = vocabulary.inserted(text, random)
    return text
