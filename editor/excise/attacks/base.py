"""What an attack is: it finds a trigger for a target within a budget, and draws with it at given seeds.

An attack is a module with

* ``find(pipeline, targets, budget) -> list[Trigger]``, one for each target, in order;
* ``draw(pipeline, pairs, sampling) -> Tensor``, one image for each (trigger, seed).

What it gives for a target must not depend on the other targets of the call beyond rounding: they are attacked in
batches, and a batch is what a killed job resumes at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from diffusers import DiffusionPipeline
from torch import Tensor

from excise.prompts.prompt import Prompt
from excise.recipe import Sampling, Section


@dataclass(frozen=True)
class Budget:
    """What an attack may spend on one target."""

    steps: int = 0
    """Steps of search; 0 where nothing is searched."""
    settings: Section | None = None
    """The attack's section of the recipe, where it has one."""

    @classmethod
    def of(cls, settings: Section | None) -> Budget:
        """What a section allows: its key ``steps`` is the steps of search."""
        return cls(getattr(settings, "steps", 0), settings)


@dataclass(frozen=True)
class Trigger:
    """What makes a model draw the target: here its text. An attack that finds something else adds a subclass."""

    target: Prompt
    """Whose image it is to bring back; its text and the seed are the key of the noise, whatever the attack."""
    text: str
    """What the model is asked."""


class Attack(Protocol):
    """The module of an attack."""

    def find(self, pipeline: DiffusionPipeline, targets: Sequence[Prompt], budget: Budget) -> list[Trigger]:
        """The best trigger for each target that the budget allows.

        Args:
            pipeline: the model under attack; left as it is.
            targets: prompts with their training images.
            budget: for each target.

        Raises:
            ExciseError: the model cannot be attacked so; says why and what to do.
        """
        ...

    def draw(self, pipeline: DiffusionPipeline, pairs: Sequence[tuple[Trigger, int]], sampling: Sampling) -> Tensor:
        """What the model draws.

        Args:
            pipeline: the model that the triggers were found for.
            pairs: triggers with seeds.
            sampling: steps, guidance, size, and how many images are denoised together.

        Returns:
            uint8 ``(pairs, 3, height, width)`` on the CPU.

        Raises:
            ExciseError: the model gives NaN or infinite pixels.
        """
        ...
