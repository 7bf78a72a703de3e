"""An attack that only the tests know, written as docs/architecture.md says: one file. It asks louder."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import DiffusionPipeline

from excise.attacks.base import Budget, Trigger
from excise.attacks.replay import draw
from excise.prompts.prompt import Prompt

__all__ = ["draw", "find"]


def find(pipeline: DiffusionPipeline, targets: Sequence[Prompt], budget: Budget) -> list[Trigger]:
    return [Trigger(target, f"{target.text} {'and ' * budget.steps}loud") for target in targets]
