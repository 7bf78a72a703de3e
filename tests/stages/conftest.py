"""One real collection on the tiny checkpoint for the stages after it, and a whole job to look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.checkpoint import Checkpoint
from excise.diffusion.sites import Site
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.statistics import ROWS, SETS, Demand
from excise.stages import collect
from tests.jobs import context_of
from tests.trial.tried import Tried, try_out

EVERYTHING = Demand(SETS, ROWS, ("column_energy",))
"""What any ranking may ask for."""


@pytest.fixture(scope="session")
def tiny_sets(tiny_recipe: Recipe) -> PromptSets:
    """The prompts of the tiny recipe, with few ordinary ones as contrast, to be quick."""
    whole = prompt_sets(tiny_recipe)
    return PromptSets(whole.located, whole.held_out, whole.contrast[:3], whole.control, whole.judged, whole.never_seen)


@pytest.fixture(scope="session")
def tiny_sites(tiny_checkpoint: Path) -> tuple[Site, ...]:
    return Checkpoint.open(tiny_checkpoint).sites()


@pytest.fixture(scope="session")
def collected(tiny_recipe: Recipe, tiny_sets: PromptSets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder after collect; not to be changed."""
    path = tmp_path_factory.mktemp("collected")
    collect.run(context_of(tiny_recipe, path, tiny_sets, EVERYTHING))
    return path


@pytest.fixture
def folder(collected: Path, tmp_path: Path) -> Path:
    """A run's folder with statistics and nothing else."""
    (tmp_path / Run.statistics.name).hardlink_to(collected / Run.statistics.name)
    return tmp_path


@pytest.fixture(scope="session")
def tried(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """A run that came to its end; not to be changed."""
    return try_out(tiny_recipe, tmp_path_factory)
