"""A sweep judges settings by cross-validation, goes on where it stopped, and never asks for a held-out prompt."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.job import sweep as sweeping
from excise.job.demand import demand_of
from excise.job.grids import GRIDS, demand_of_grid, describe
from excise.job.sweep import Sweep, run_sweep, sweep_recipe
from excise.prompts.sets import prompt_sets
from excise.recipe import PUBLISHED, Locate, Recipe
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.stages import collect
from excise.stages.context import Context
from tests.conftest import MEMORIZED, changed, write_table
from tests.jobs import context_of, write_recipe


@pytest.fixture
def context(tiny_recipe: Recipe, tmp_path: Path) -> Context:
    """Of a run that has collected what the recipe's own setting needs."""
    found = context_of(changed(tiny_recipe, "locate", evidence=False), tmp_path)
    collect.run(found)
    return found


def test_rows_are_written_once_and_a_sweep_goes_on(context: Context, tmp_path: Path) -> None:
    settings = [context.recipe.locate, context.recipe.locate.model_copy(update={"unit": "columns"})]
    table = tmp_path / "sweep.csv"
    run_sweep(context, table, 1, 4, settings[:1])
    first = table.read_text()
    run_sweep(context, table, 1, 4, settings)
    assert table.read_text().startswith(first)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["setting"] for row in rows] == ["base", *map(describe, settings)]
    assert float(rows[0]["changed"]) == 0.0 == float(rows[0]["drift"])
    assert 0.0 < float(rows[1]["changed"]) < 1.0 and float(rows[1]["drift"]) > 0.0


def test_no_held_out_or_judged_prompt_is_asked_for(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    real = sweeping.replay

    def watched(pipeline: object, prompts: list[str], *rest: object) -> object:
        asked.update(prompts)
        return real(pipeline, prompts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sweeping, "replay", watched)
    run_sweep(context, tmp_path / "sweep.csv", 1, 4, [context.recipe.locate])
    sets = prompt_sets(context.recipe)
    located = {prompt.text for group in sets.located for prompt in group}
    assert located <= asked
    assert not asked & {prompt.text for prompt in (*sets.held_out, *sets.judged, *sets.never_seen)}


def test_the_model_is_itself_again_after_a_row(context: Context) -> None:
    sweep = Sweep(context, 1, 4)
    before = {name: value.clone() for name, value in sweep.network.state_dict().items()}
    sweep.row(context.recipe.locate)
    assert all((before[name] == value).all() for name, value in sweep.network.state_dict().items())


@pytest.mark.parametrize("grid", GRIDS)
def test_grids_have_no_setting_twice_but_the_recipes_own(tiny_recipe: Recipe, grid: str) -> None:
    names = [describe(setting) for setting in GRIDS[grid](tiny_recipe)]
    assert names[0] == describe(tiny_recipe.locate)
    assert len(set(names[1:])) == len(names) - 1
    tables = tiny_recipe.prompts.model_copy(update={"neighbours": tiny_recipe.prompts.ordinary})
    beside = [describe(setting) for setting in GRIDS[grid](tiny_recipe.model_copy(update={"prompts": tables}))]
    assert set(names) < set(beside) and all("neighbours" in name for name in set(beside) - set(names))
    assert len(set(beside[1:])) == len(beside) - 1


def test_a_grid_asks_for_what_its_settings_need_and_no_control(tiny_recipe: Recipe) -> None:
    ordinary = Locate(contrast="ordinary", rows="conditional")
    assert demand_of_grid([ordinary]).sets == ("memorized", "contrast")
    both = demand_of_grid([ordinary, PUBLISHED])
    assert (both.sets, both.rows) == (("memorized", "contrast", "empty"), ("both", "conditional"))
    assert demand_of(tiny_recipe).sets == ("memorized", "control", "empty")


def test_without_statistics_it_says_what_to_run(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match="--until collect"):
        Sweep(context_of(tiny_recipe, tmp_path), 1, 4)


@pytest.mark.e2e
def test_a_sweep_collects_in_a_folder_of_its_own_and_is_recomputed_for_another_recipe(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRIDS, "one", lambda recipe: iter([recipe.locate, Locate(contrast="ordinary", calls=2)]))
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"locate.sparsity": 0.1})
    out, said = tmp_path / "out", []
    table = sweep_recipe(recipe, out, 1, 4, "one", said.append)
    assert table == out / "sweep.csv" and len(table.read_text().splitlines()) == 4
    assert (
        list(load_record(Run(out).sweep_run()).stages) == ["collect"] and not (out / "statistics.safetensors").exists()
    )
    assert any("collect …" in line for line in said)
    write_recipe(recipe, tiny_recipe, {"locate.sparsity": 0.1, "collect.seed": 5})
    sweep_recipe(recipe, out, 1, 4, "one", said.append)
    assert "changed: settings" in said[-2], "statistics of another recipe were used"


def test_a_sweep_without_images_is_refused_before_it_collects(tiny_recipe: Recipe, tmp_path: Path) -> None:
    table = write_table(tmp_path / "bare.csv", [{"prompt": text} for text in MEMORIZED])
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"prompts.memorized": str(table)})
    with pytest.raises(ExciseError, match=r"3 of 3 groups have no prompt with a training image"):
        sweep_recipe(recipe, tmp_path / "out", 1, 4, "small")
    assert not (tmp_path / "out").exists()


def test_prompts_without_an_image_are_no_part_of_a_sweep_nor_kinds_without_prompts(
    tiny_recipe: Recipe, tiny_tables: Path, tmp_path: Path
) -> None:
    """Every second verbatim prompt has an image, and there is no template."""
    names = [str(tiny_tables / f"verbatim{i}.png") if i % 2 else "" for i in range(8)]
    rows = [{"prompt": text, "image": name} for text, name in zip(MEMORIZED, names, strict=True)]
    recipe = changed(tiny_recipe, "prompts", memorized=write_table(tmp_path / "half.csv", rows), held_out=0.0)
    recipe = changed(changed(recipe, "locate", evidence=False), "collect", groups=2)
    context = context_of(recipe, tmp_path)
    collect.run(context)
    sweep = Sweep(context, 1, 4)
    row, base = sweep.row(recipe.locate), sweep.base_row()
    assert 0.0 <= row["verbatim"] <= 1.0 and "template" not in row and "template" not in base
