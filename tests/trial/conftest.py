"""A whole job to look at."""

from __future__ import annotations

import pytest

from excise.recipe import Recipe
from tests.trial.tried import Tried, try_out


@pytest.fixture(scope="session")
def tried(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """A run that came to its end; not to be changed."""
    return try_out(tiny_recipe, tmp_path_factory)
