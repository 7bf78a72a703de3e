"""A sweep compares edits without a held-out prompt, goes on where it stopped, and leaves a recipe that runs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from excise.errors import ExciseError
from excise.job import sweep
from excise.job.grids import GRIDS, Candidate, demand_of_grid
from excise.job.runner import run_job
from excise.job.sweep import Extent, conclude, run_sweep, sweep_recipe
from excise.prompts.sets import prompt_sets
from excise.prompts.swept import swept_sets
from excise.recipe import CompensateEdit, Edit, ProjectEdit, Recipe, load_recipe
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.results import read_edit_record, read_model
from excise.run.swept import Swept
from excise.stages import collect
from excise.stages.context import Context
from tests.conftest import MEMORIZED, changed, write_table
from tests.job.watched import Watched
from tests.jobs import context_of, excise, refused, write_recipe

SMALL = Extent(seeds=1, ordinary=4)


def few(recipe: Recipe) -> list[Candidate]:
    """A control, three edits, and one that cannot be made."""
    sites, locate = recipe.collect.sites, recipe.locate
    return [
        Candidate(sites, locate, Edit(), control=True),
        Candidate(sites, locate, Edit(method="project", project=ProjectEdit(directions=2))),
        Candidate(sites, locate, Edit(method="compensate", compensate=CompensateEdit(importance=0.5))),
        Candidate(sites, locate, Edit(method="project", project=ProjectEdit(threshold=1e9))),
    ]


@pytest.fixture
def context(tiny_recipe: Recipe, tmp_path: Path) -> Context:
    """Of a run that has collected what `few` need."""
    recipe = changed(changed(tiny_recipe, "sampling", steps=2), "collect", calls=2)
    found = context_of(recipe, tmp_path, swept_sets(prompt_sets(recipe), 4), demand_of_grid(recipe, few(recipe)))
    collect.run(found)
    return found


def swept(context: Context, candidates: list[Candidate], extent: Extent = SMALL) -> Swept:
    return run_sweep(context, {"ffn": context.run}, extent, candidates)


def test_no_held_out_or_judged_prompt_is_asked_for_and_no_image_of_theirs_is_read(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Watched.sweep(monkeypatch)
    asked, seeds, opened = seen.asked, seen.seeds, seen.opened

    swept(context, few(context.recipe)[:2])
    whole = prompt_sets(context.recipe)
    located = [prompt for group in whole.located for prompt in group]
    assert {prompt.text for prompt in located} <= asked
    kept_back = (*whole.held_out, *whole.judged, *whole.never_seen)
    assert kept_back and not asked & {prompt.text for prompt in kept_back}
    assert opened and opened <= {path for prompt in located for path in (prompt.image, prompt.mask)}
    settings = context.recipe.validate_
    assert seeds and not seeds & set(range(settings.seed, settings.seed + settings.seeds))


def test_it_goes_on_where_it_stopped_and_begins_anew_for_other_images(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = few(context.recipe)
    first = swept(context, candidates[:2])
    second = swept(context, candidates)
    assert second.settings[:2] == first.settings and second.base == first.base
    assert [setting.name for setting in second.settings] == [candidate.name for candidate in candidates]
    assert read_model(context.run.sweep, Swept) == second
    monkeypatch.setattr(sweep, "Crossed", None)  # nothing is left to be drawn
    assert swept(context, candidates) == second
    strict = context.recipe.verdict.model_copy(update={"drift": 1e-6})
    other = Context(context.recipe.model_copy(update={"verdict": strict}), context.sets, context.run, context.demand)
    assert swept(other, candidates) == second, "limits change no number"
    with pytest.raises(TypeError, match="not callable"):
        swept(context, candidates, Extent(seeds=1, ordinary=5))


def test_an_edit_that_cannot_be_made_says_why_and_the_others_go_on(context: Context) -> None:
    *_, made, last = swept(context, few(context.recipe)).settings
    assert last.result is None and last.refused and "lower edit.project.threshold" in last.refused
    assert made.result is not None and made.result.weights_changed


def test_table_picture_and_a_recipe_that_runs_are_left(context: Context, tmp_path: Path) -> None:
    recipe, run, said = context.recipe, context.run, []
    found = swept(context, few(recipe))
    best = conclude(recipe, run, found, said.append)
    with run.sweep_table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["setting"] == "base" and float(rows[0]["damage"]) == 0.0
    assert best is not None and [row["setting"] for row in rows if row["chosen"] == "1"] == [best.name]
    assert best.name != few(recipe)[0].name, "a control is never chosen"
    assert rows[1]["setting"] == best.name and "lower edit.project.threshold" in rows[-1]["exceeds"]
    made = [row for row in rows[1:] if row["damage"]]
    assert len(made) == 3 and all(float(row["changed"]) > 0 and float(row["drift"]) > 0.0 for row in made)
    picture = run.sweep_front.read_text()
    assert picture.count('id="setting-') == 3 and 'id="base"' in picture and 'id="front"' in picture
    assert any(best.name in line for line in said) and said[-1].endswith("chosen.toml")
    chosen = load_recipe(run.chosen)
    assert chosen.name == "tiny-chosen" and chosen.edit.method in best.name
    assert run.chosen.read_text().startswith("# chosen of 2 settings by cross-validation")
    again = run_job(run.chosen, tmp_path / "again", until="edit", say=lambda _: None)
    assert read_edit_record(again).method == chosen.edit.method
    before = run.sweep_front.read_bytes()
    conclude(recipe, run, found, said.append)
    assert run.sweep_front.read_bytes() == before


def test_groups_without_an_image_are_refused_before_it_collects(tiny_recipe: Recipe, tmp_path: Path) -> None:
    table = write_table(tmp_path / "bare.csv", [{"prompt": text} for text in MEMORIZED])
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"prompts.memorized": str(table)})
    with pytest.raises(ExciseError, match=r"3 of 3 groups have no prompt with a training image"):
        sweep_recipe(recipe, tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.e2e
def test_a_sweep_collects_in_folders_of_its_own_and_is_recomputed_for_another_recipe(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRIDS, "small", lambda recipe: iter(few(recipe)[:2]))
    changes: dict[str, Any] = {
        "locate.sparsity": 0.1,
        "sampling.steps": 2,
        "collect.calls": 2,
        "attack.embedding.steps": 1,
    }
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
    out = tmp_path / "out"
    options = ["--seeds", 1, "--ordinary", 4, "--out", out, "--search", 1]
    done = excise("sweep", recipe, *options, "--sites", "ffn", "--sites", "cross_value")
    assert done.exit_code == 0, done.output
    run = Run(out)
    assert [path.name for path in sorted((out / "sweep").iterdir())] == ["cross_value", "ffn"]
    assert list(load_record(run.sweep_run("ffn")).stages) == ["collect"] and not run.statistics.exists()
    assert "the verdict will refuse" not in done.output, "what a verdict would lack is no business of a sweep"
    found = read_model(run.sweep, Swept)
    assert len(found.settings) == 4 and {setting.sites for setting in found.settings} == {"ffn", "cross_value"}
    assert all(setting.result and setting.result.other_attacks for setting in found.settings)
    assert "setting 4 of 4, cross_value: project inputs 2 directions, both rows: " in done.output
    write_recipe(recipe, tiny_recipe, changes | {"collect.seed": 5})
    again = excise("sweep", recipe, *options)
    assert again.exit_code == 0 and "changed: settings" in again.output, "statistics of another recipe were used"
    other = read_model(run.sweep, Swept)
    assert other.basis != found.basis and len(other.settings) == 2


def test_a_search_that_cannot_be_made_is_refused_before_the_model_is_loaded(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.diffusion.pipelines import save

    folder = save("cogview4", tmp_path / "cogview4")
    recipe = changed(changed(tiny_recipe, "model", path=folder), "sampling", size=64)
    context = context_of(recipe, tmp_path, swept_sets(prompt_sets(recipe), 4))
    monkeypatch.setattr(sweep, "Crossed", None)
    with pytest.raises(ExciseError, match="CogView4Pipeline"):
        swept(context, few(recipe), Extent(seeds=1, ordinary=4, search=1))


def test_a_recipe_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert refused(excise("sweep", tmp_path / "none.toml"), "none.toml", "cannot be read")
