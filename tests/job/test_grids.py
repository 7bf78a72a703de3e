"""What a sweep compares: no candidate twice, each a recipe that can be run, and no statistic that none needs."""

from __future__ import annotations

import pytest

from excise.edits import METHODS
from excise.job.demand import demand_of
from excise.job.grids import COMPARED, GRIDS, Candidate, candidates_of, demand_of_grid
from excise.prompts.sets import prompt_sets
from excise.recipe import PUBLISHED, Edit, Locate, ProjectEdit, Recipe, load_recipe
from excise.recipe.text import to_toml
from tests.conftest import changed


@pytest.mark.parametrize("grid", GRIDS)
def test_no_candidate_is_there_twice_and_the_recipes_own_comes_first(tiny_recipe: Recipe, grid: str) -> None:
    found = candidates_of(tiny_recipe, grid)
    names = [candidate.name for candidate in found]
    assert len(set(names)) == len(names)
    assert (found[0].locate, found[0].edit) == (tiny_recipe.locate, tiny_recipe.edit)
    assert [candidate.control for candidate in found] == [False, True] + [False] * (len(found) - 2)
    assert len({(str(found.locate), str(found.edit)) for found in found}) == len(found), "two of one name differ"
    elsewhere = candidates_of(changed(tiny_recipe, "collect", sites="cross_value"), grid)
    assert all(candidate.name.startswith("cross_value: ") for candidate in elsewhere)
    tables = tiny_recipe.prompts.model_copy(update={"neighbours": tiny_recipe.prompts.ordinary})
    beside = [candidate.name for candidate in candidates_of(tiny_recipe.model_copy(update={"prompts": tables}), grid)]
    assert set(names) <= set(beside) and all("neighbours" in name for name in set(beside) - set(names))


def test_every_method_is_compared_at_several_strengths(tiny_recipe: Recipe) -> None:
    found = candidates_of(tiny_recipe, "small")
    assert {candidate.edit.method for candidate in found} == set(COMPARED) <= set(METHODS)
    for name in COMPARED:
        assert sum(candidate.edit.method == name for candidate in found) >= 4
    projects = [candidate.edit.project for candidate in candidates_of(tiny_recipe, "full")]
    for key in ("side", "threshold", "directions", "cost", "filter", "obliqueness"):
        assert len({getattr(settings, key) for settings in projects}) > 1, key


@pytest.mark.parametrize("grid", GRIDS)
def test_every_candidate_is_a_recipe(tiny_recipe: Recipe, grid: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("recipes") / "recipe.toml"
    for candidate in candidates_of(tiny_recipe, grid):
        made = candidate.applied(tiny_recipe)
        path.write_text(to_toml(made))
        assert load_recipe(path) == made


def test_an_edit_that_is_not_fitted_on_statistics_is_no_candidate(tiny_recipe: Recipe) -> None:
    found = candidates_of(changed(tiny_recipe, "edit", method="random"), "small")
    assert found[0].control and all(candidate.edit.method != "random" for candidate in found)


def test_a_grid_asks_for_what_its_candidates_need_and_no_control(tiny_recipe: Recipe) -> None:
    zero, project = Edit(), Edit(method="project", project=ProjectEdit())
    ordinary = Candidate("ffn", Locate(contrast="ordinary", rows="conditional"), zero)
    assert demand_of_grid(tiny_recipe, [ordinary]).sets == ("memorized", "contrast")
    assert demand_of_grid(tiny_recipe, [ordinary]).fitted == ()
    both = demand_of_grid(tiny_recipe, [ordinary, Candidate("ffn", PUBLISHED, project)])
    assert (both.sets, both.rows) == (("memorized", "contrast", "empty"), ("both", "conditional"))
    assert both.fitted == ("second_moment",)
    assert demand_of(tiny_recipe).sets == ("memorized", "control", "empty")
    assert prompt_sets(tiny_recipe).control, "there is one, and a sweep does not collect it"
