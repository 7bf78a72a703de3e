"""What a mitigation is given and gives: images, and what each cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from diffusers import DiffusionPipeline
from torch import Tensor

from excise.recipe import Sampling


@dataclass(frozen=True)
class Mitigating:
    """How images are drawn and what a mitigation may do for each."""

    sampling: Sampling
    """Steps, guidance, size, and how many images go together."""
    target: float = 0.0
    """Magnitude at the first call at or under which the embedding is left alone."""
    iterations: int = 10
    """Steps of the embedding, at most."""
    rate: float = 0.05
    """Learning rate of its AdamW."""
    tokens: int = 4
    """Random tokens that are put into a prompt."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Images, and what each cost."""

    images: Tensor
    """uint8 ``(images, 3, height, width)``."""
    calls: Tensor
    """Guided denoiser calls, drawing included: int64 ``(images,)``."""
    gradients: Tensor
    """Of these, those that were differentiated: int64 ``(images,)``."""
    told: tuple[str, ...]
    """What the model was asked, in words."""


class Mitigation(Protocol):
    """The module of a mitigation."""

    def draw(
        self, pipeline: DiffusionPipeline, texts: Sequence[str], seeds: Sequence[int], settings: Mitigating
    ) -> Drawn:
        """Draw one image for each (text, seed), from the noise that a plain drawing of it starts from.

        Raises:
            ExciseError: the model cannot be drawn with so; says why.
        """
        ...
