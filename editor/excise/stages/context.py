"""What a stage is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from excise.checkpoint import Checkpoint
from excise.edits import method
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe, Section
from excise.run.layout import Run
from excise.run.material import RunMaterial
from excise.run.processes import ALONE, Processes
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

    @cached_property
    def base(self) -> Checkpoint:
        """The checkpoint that is edited; opened once."""
        return Checkpoint.open(self.recipe.model.path)

    @cached_property
    def twin(self) -> Checkpoint | None:
        """The counterfactual, where the recipe names one."""
        return Checkpoint.open(self.recipe.model.twin) if self.recipe.model.twin is not None else None

    @property
    def contrast(self) -> str:
        """The set of statistics that memorized prompts are contrasted with."""
        return contrast_of(self.recipe)

    def material(self, name: str, settings: Section | None) -> RunMaterial:
        """What an edit is fitted on: the method of that name, with its section of the recipe."""
        recipe = self.recipe
        return RunMaterial(
            run=self.run,
            settings=settings,
            sites=self.base.sites(recipe.collect.sites),
            needs=method(name).NEEDS,
            contrast=self.contrast,
            rows=recipe.locate.rows,
        )


def contrast_of(recipe: Recipe) -> str:
    """The set of statistics that a recipe contrasts memorized prompts with."""
    return "contrast" if recipe.locate.contrast == "ordinary" else "empty"
