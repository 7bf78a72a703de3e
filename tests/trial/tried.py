"""A whole job on the tiny checkpoint, for every test that looks at what one leaves; made once in a process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
import torch

from excise.job.runner import run_job
from excise.measures.judge import Judge, save_judge
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.results import read_measures, read_verdict
from excise.stages.context import Context
from excise.verdict.measured import Measures
from excise.verdict.models import Verdict
from tests.conftest import QUESTIONS, changed
from tests.jobs import context_of

THRESHOLD = 0.386
"""In the middle of the distances of random pictures to what a random model draws, so that some replicate."""
NAME = "tiny & <b>bold</b>"
_MADE: dict[Recipe, Tried] = {}


@dataclass(frozen=True)
class Tried:
    """A run that came to its end; not to be changed."""

    recipe: Recipe
    run: Run

    @cached_property
    def sets(self) -> PromptSets:
        return prompt_sets(self.recipe)

    @cached_property
    def context(self) -> Context:
        return context_of(self.recipe, self.run.folder, self.sets)

    @cached_property
    def verdict(self) -> Verdict:
        return read_verdict(self.run)

    @cached_property
    def measures(self) -> Measures:
        return read_measures(self.run)

    @cached_property
    def verdict_json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run.verdict.read_text())
        return found


def try_out(tiny: Recipe, factory: pytest.TempPathFactory) -> Tried:
    """The tiny recipe with an untrained judge and the base as its own twin, few steps, three seeds."""
    if tiny not in _MADE:
        folder = factory.mktemp("tried")
        torch.manual_seed(0)
        save_judge(Judge(QUESTIONS), folder / "judge")
        recipe = changed(tiny, "model", twin=tiny.model.path).model_copy(update={"name": NAME})
        recipe = changed(recipe, "sampling", steps=3, batch=8)
        recipe = changed(recipe, "validate_", judge=folder / "judge", threshold=THRESHOLD, seeds=3)
        _MADE[tiny] = Tried(recipe, run_job(recipe, folder / "run", say=lambda _: None))
    return _MADE[tiny]
