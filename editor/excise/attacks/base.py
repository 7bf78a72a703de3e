"""What an attack is: it finds triggers for targets within a budget, and draws with them at given seeds.

An attack is a module with

* ``find(pipeline, targets, budget) -> Generator[Found]``, which yields at each point of the budget's curve what it has
  found so far, one trigger for each target, in order;
* ``draw(pipeline, pairs, sampling) -> Tensor``, one image for each (trigger, seed).

What was yielded is good until the next is asked for, and the generator is always closed: so an attack may hold the
model changed while its images are drawn (retrained, or with its zeros filled), and puts it right at its end.

What it gives for a target must not depend on the other targets of the call beyond rounding: they are searched for in
chunks, and a chunk is what a killed job resumes at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from diffusers import DiffusionPipeline
from torch import Tensor

from excise.prompts.prompt import Prompt
from excise.recipe import Sampling, Search

Purpose = Literal["judging", "editing"]
"""Whose search it is: the verdict's, or that of an edit which trains under attack."""

_USUAL = Sampling()


@dataclass(frozen=True, eq=False)
class Target:
    """An image to bring back."""

    prompt: Prompt
    image: Tensor | None = None
    """Its pixels: float32 ``(3, height, width)`` in [0, 1], of the size that the model draws; None where a prompt has
    no training image, and is only replayed."""
    other: Target | None = None
    """Another image, of another template, of the same question where there is one; it has no other of its own."""


@dataclass(frozen=True)
class Budget:
    """What an attack may spend on one target; the recipe fixes it before anything is searched for."""

    points: tuple[int, ...] = (0,)
    """Steps after which `find` yields, rising; ``(0,)`` where no steps are counted. The last is the whole budget."""
    variant: str = ""
    """Which of the attack's ways: its section's `variants` names them."""
    settings: Search | None = None
    """The attack's section of the recipe, where it has one."""
    sampling: Sampling = _USUAL
    """How images will be drawn with what is found."""
    purpose: Purpose = "judging"

    @classmethod
    def of(
        cls,
        settings: Search | None,
        variant: str = "",
        sampling: Sampling = _USUAL,
        purpose: Purpose = "judging",
    ) -> Budget:
        """What a section allows."""
        return cls((settings.points if settings else ()) or (0,), variant, settings, sampling, purpose)

    @property
    def steps(self) -> int:
        """All steps that may be made."""
        return self.points[-1]

    def key(self, target: Target) -> int:
        """Seed of all that is random in the search for a target: 63 bits that depend on its prompt, the section's seed,
        the variant and the purpose, never on other targets. An edit's searches share none with those that judge it.
        """
        seed = self.settings.seed if self.settings else 0
        digest = hashlib.sha256(f"{self.purpose}\n{self.variant}\n{seed}\n{target.prompt.text}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Trigger:
    """What makes a model draw the target: here its text. An attack that finds something else adds a subclass."""

    target: Prompt
    """Whose image it is to bring back; its text and the seed are the key of the noise, whatever the attack."""
    text: str
    """What the model is asked, or what was found, in words: it is kept beside the images, for people."""


@dataclass(frozen=True)
class Found:
    """What an attack has found at one point of its curve."""

    steps: int
    """The point."""
    triggers: Sequence[Trigger]
    """One for each target, in order."""


class Attack(Protocol):
    """The module of an attack."""

    def find(
        self, pipeline: DiffusionPipeline, targets: Sequence[Target], budget: Budget
    ) -> Generator[Found, None, None]:
        """The best trigger for each target, at each point of the budget.

        Args:
            pipeline: the model under attack; left as it is when the generator is closed.
            targets: images of one question, searched for together.
            budget: for each target.

        Yields:
            One `Found` for each of ``budget.points``, in order.

        Raises:
            ExciseError: the model cannot be attacked so; says why and what to do.
        """
        ...

    def draw(self, pipeline: DiffusionPipeline, pairs: Sequence[tuple[Trigger, int]], sampling: Sampling) -> Tensor:
        """What the model draws.

        Args:
            pipeline: the model that the triggers were found for, while they are good.
            pairs: triggers with seeds.
            sampling: steps, guidance, size, and how many images are denoised together.

        Returns:
            uint8 ``(pairs, 3, height, width)`` on the CPU.

        Raises:
            ExciseError: the model gives NaN or infinite pixels.
        """
        ...
