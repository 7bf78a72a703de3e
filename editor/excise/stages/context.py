"""What a stage is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from excise.checkpoint import Checkpoint
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.processes import ALONE, Processes
from excise.run.progress import Progress, Silence
from excise.run.statistics import Demand


@dataclass(frozen=True)
class Context:
    """One job, as its stages see it."""

    recipe: Recipe
    """With local paths alone."""
    sets: PromptSets
    run: Run
    demand: Demand
    """What is to be collected."""
    processes: Processes = ALONE
    progress: Progress = field(default_factory=Silence)
    """Is told how far the stage is."""

    @cached_property
    def base(self) -> Checkpoint:
        """The checkpoint that is edited; opened once."""
        return Checkpoint.open(self.recipe.model.path)

    @cached_property
    def twin(self) -> Checkpoint | None:
        """The counterfactual, where the recipe names one."""
        return Checkpoint.open(self.recipe.model.twin) if self.recipe.model.twin is not None else None
