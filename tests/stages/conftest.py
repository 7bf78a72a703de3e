"""One real collection on the tiny checkpoint, for the stages after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.diffusion.sites import Site, sites_of
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Recipe
from excise.stages import collect


@pytest.fixture(scope="session")
def tiny_sets(tiny_recipe: Recipe) -> PromptSets:
    """The prompts of the tiny recipe, with few ordinary ones as contrast, to be quick."""
    whole = prompt_sets(tiny_recipe)
    return PromptSets(whole.located, whole.held_out, whole.contrast[:3], whole.control, whole.judged, whole.never_seen)


@pytest.fixture(scope="session")
def tiny_sites(tiny_checkpoint: Path) -> tuple[Site, ...]:
    return sites_of(tiny_checkpoint)


@pytest.fixture(scope="session")
def collected(tiny_recipe: Recipe, tiny_sets: PromptSets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder after collect; not to be changed."""
    path = tmp_path_factory.mktemp("collected")
    collect.run(tiny_recipe, tiny_sets, path)
    return path


@pytest.fixture
def folder(collected: Path, tmp_path: Path) -> Path:
    """A run's folder with statistics and nothing else."""
    (tmp_path / collect.OUTPUT).hardlink_to(collected / collect.OUTPUT)
    return tmp_path
