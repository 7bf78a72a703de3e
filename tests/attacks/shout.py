"""An attack that only the tests know, written as docs/architecture.md says: one file. It asks louder and louder.

While its images are drawn the model is another one: it holds the denoiser's first parameter changed between two yields,
as an attack that trains would.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from diffusers import DiffusionPipeline

from excise.attacks.base import Budget, Found, Target, Trigger
from excise.attacks.replay import draw
from excise.diffusion.load import denoiser
from excise.recipe import StepwiseSearch

__all__ = ["Loudness", "draw", "find"]

ADDED = 0.25


class Loudness(StepwiseSearch):
    """Its section of the recipe."""

    steps: int = 2
    curve: tuple[int, ...] = (1,)
    images: int | None = 3
    words: tuple[str, ...] = ("and", "so")

    @property
    def variants(self) -> tuple[str, ...]:
        return self.words

    def calls(self, variant: str) -> int:
        return 10 * self.steps


def find(pipeline: DiffusionPipeline, targets: Sequence[Target], budget: Budget) -> Generator[Found, None, None]:
    weight = next(denoiser(pipeline).parameters())
    before = weight.clone()
    try:
        for point in budget.points:
            with torch.no_grad():
                weight.copy_(before + ADDED * point)
            words = f"{budget.variant} " * point
            yield Found(point, [Trigger(target.prompt, f"{target.prompt.text} {words}loud") for target in targets])
    finally:
        with torch.no_grad():
            weight.copy_(before)
