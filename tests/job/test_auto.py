"""A recipe may leave its edit to a sweep: within a time that plan states, on no prompt or seed that judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from excise.errors import ExciseError
from excise.job import auto, crossed
from excise.job.auto import run_any
from excise.job.grids import GRIDS, Candidate, in_turn
from excise.job.runner import run_job
from excise.job.sweep import Extent
from excise.prompts.sets import prompt_sets
from excise.recipe import AutoEdit, Edit, ProjectEdit, Recipe, load_recipe
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.processes import Processes
from excise.run.results import read_edit_record, read_model
from excise.run.swept import Swept
from tests.conftest import changed
from tests.job.test_sweep import few
from tests.job.watched import Watched
from tests.jobs import excise, write_recipe


@pytest.fixture
def recipe(tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A control and three edits are compared, of which one cannot be made."""
    monkeypatch.setitem(GRIDS, "small", lambda given: iter(few(given)))
    monkeypatch.setattr(auto, "Extent", lambda search=0: Extent(seeds=1, ordinary=4, search=search))
    plain = changed(changed(tiny_recipe, "sampling", steps=2), "collect", calls=2)
    plain = changed(changed(plain, "validate_", seeds=1, random_edits=0), "locate", evidence=False)
    return changed(plain, "edit", method="auto")


def test_what_a_sweep_chose_is_made_and_nothing_that_judges_is_read_before(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Watched.sweep(monkeypatch)
    asked, seeds, opened = seen.asked, seen.seeds, seen.opened

    def chosen_only(given: Recipe, *rest: Any, **options: Any) -> Run:
        whole = prompt_sets(recipe)
        kept_back = (*whole.held_out, *whole.judged, *whole.never_seen)
        judging = range(recipe.validate_.seed, recipe.validate_.seed + recipe.validate_.seeds)
        located = [prompt for group in whole.located for prompt in group]
        assert {prompt.text for prompt in located} <= asked and not asked & {prompt.text for prompt in kept_back}
        assert opened and opened <= {path for prompt in located for path in (prompt.image, prompt.mask)}
        assert seeds and not seeds & set(judging)
        assert not (tmp_path / "run" / Run.statistics.name).exists()
        return run_job(given, *rest, **options)

    monkeypatch.setattr(auto, "run_job", chosen_only)
    said: list[str] = []
    run = run_any(recipe, tmp_path / "run", "edit", say=said.append)
    chosen, record = load_recipe(run.chosen), read_edit_record(run)
    assert record.method == chosen.edit.named and record.method in ("project", "compensate")
    assert load_record(run).recipe == f"{recipe.name}, as a sweep chose"
    monkeypatch.setattr(auto, "run_job", run_job)
    monkeypatch.setattr(crossed, "replay", None)  # nothing is drawn again
    again: list[str] = []
    run_any(recipe, tmp_path / "run", "edit", say=again.append)
    assert any("4 of 4, edit: done before" in line for line in again), again


def test_no_setting_is_begun_that_would_go_over_the_time_and_one_always_is(recipe: Recipe, tmp_path: Path) -> None:
    hasty = changed(recipe, "edit", method="auto", auto=AutoEdit(minutes=1e-6))
    for _ in range(2):  # what an earlier start took counts too
        run = run_any(hasty, tmp_path / "run", "edit", say=lambda _: None)
        assert len(read_model(run.sweep, Swept).settings) == 1
    assert read_edit_record(run).method == "project"
    run_any(changed(recipe, "edit", method="auto", auto=AutoEdit(minutes=60.0)), run.folder, "edit", say=lambda _: None)
    assert len(read_model(run.sweep, Swept).settings) == 4


def test_methods_take_turns_and_controls_come_last(tiny_recipe: Recipe) -> None:
    of_project = [Edit(method="project", project=ProjectEdit(directions=n)) for n in (1, 2, 3)]
    edits = [Edit(), *of_project, Edit(method="compensate")]
    found = [Candidate("ffn", tiny_recipe.locate, edit) for edit in edits]
    control = Candidate("ffn", tiny_recipe.locate, Edit(), control=True)
    taken = [one.edit for one in in_turn([control, *found])]
    assert taken == [edits[0], of_project[0], edits[4], of_project[1], of_project[2], control.edit]


def test_plan_states_the_time_and_what_the_largest_edit_takes(recipe: Recipe, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.toml", recipe, {"edit.auto.minutes": 7.0})
    done = excise("plan", path, "--out", tmp_path / "run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert any("for at most 7 min (edit.auto.minutes)" in note and "3 settings" in note for note in found["notes"])
    assert "second_moment" in found["collected"]["memorized"] and found["estimate"]["entries"] > 0
    assert "auto" in excise("plan", path).output


def test_a_run_that_chose_is_finished_with_the_recipe_that_it_chose(recipe: Recipe, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.toml", recipe, {"edit.auto.minutes": 1e-6})
    done = excise("run", path, "--out", tmp_path / "run")
    assert done.exit_code in (0, 3), done.output
    run = Run(tmp_path / "run")
    assert load_recipe(run.recipe).edit.named == read_edit_record(run).method == "project"
    assert load_recipe(run.recipe).name == recipe.name


def test_several_processes_are_told_to_sweep_first(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "join_processes", lambda: Processes(0, 2))
    with pytest.raises(ExciseError, match=r"one process; run excise sweep .*chosen\.toml"):
        run_any(recipe, tmp_path / "run", "edit", say=lambda _: None)
    with pytest.raises(ValueError, match="auto chooses the whole edit"):
        Edit.model_validate({"method": "auto", "then": ["unlearn"]})
