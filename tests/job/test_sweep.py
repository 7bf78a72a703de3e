"""A sweep judges settings by cross-validation, goes on where it stopped, and never asks for a held-out prompt."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.job import sweep as sweeping
from excise.job.sweep import Sweep, describe, full_grid, run_sweep, small_grid
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe
from excise.stages import collect


@pytest.fixture
def collected(tiny_recipe: Recipe, tmp_path: Path) -> Path:
    collect.run(tiny_recipe, prompt_sets(tiny_recipe), tmp_path)
    return tmp_path


def test_rows_are_written_once_and_a_sweep_goes_on(tiny_recipe: Recipe, collected: Path) -> None:
    settings = [tiny_recipe.locate, tiny_recipe.locate.model_copy(update={"unit": "columns"})]
    run_sweep(tiny_recipe, collected, 1, 4, settings[:1])
    first = (collected / "sweep.csv").read_text()
    table = run_sweep(tiny_recipe, collected, 1, 4, settings)
    assert table.read_text().startswith(first)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["setting"] for row in rows] == ["base", *map(describe, settings)]
    assert float(rows[0]["zeroed"]) == 0.0 == float(rows[0]["drift"])
    assert 0.0 < float(rows[1]["zeroed"]) < 1.0 and float(rows[1]["drift"]) > 0.0


def test_no_held_out_or_judged_prompt_is_asked_for(
    tiny_recipe: Recipe, collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    real = sweeping.replay

    def watched(pipeline: object, prompts: list[str], *rest: object) -> object:
        asked.update(prompts)
        return real(pipeline, prompts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sweeping, "replay", watched)
    run_sweep(tiny_recipe, collected, 1, 4, [tiny_recipe.locate])
    sets = prompt_sets(tiny_recipe)
    located = {prompt.text for group in sets.located for prompt in group}
    assert located <= asked
    assert not asked & {prompt.text for prompt in (*sets.held_out, *sets.judged, *sets.never_seen)}


def test_the_model_is_itself_again_after_a_row(tiny_recipe: Recipe, collected: Path) -> None:
    sweep = Sweep(tiny_recipe, collected, 1, 4)
    before = {name: value.clone() for name, value in sweep.network.state_dict().items()}
    sweep.row(tiny_recipe.locate)
    assert all((before[name] == value).all() for name, value in sweep.network.state_dict().items())


def test_grids_have_no_setting_twice_but_the_recipes_own(tiny_recipe: Recipe) -> None:
    for grid in (small_grid, full_grid):
        names = [describe(setting) for setting in grid(tiny_recipe)]
        assert names[0] == describe(tiny_recipe.locate)
        assert len(set(names[1:])) == len(names) - 1


def test_without_statistics_it_says_what_to_run(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match="--until collect"):
        Sweep(tiny_recipe, tmp_path, 1, 4)
