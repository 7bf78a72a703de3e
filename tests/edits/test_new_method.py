"""A new method is one file and one line: the whole job runs with it, dense weights and second moments included."""

from __future__ import annotations

import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.edits import METHODS
from excise.job.demand import demand_of
from excise.job.runner import run_job
from excise.job.sequence import Fingerprints
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe
from excise.report.differences import find_differences
from excise.run.layout import Run
from excise.run.results import read_edit_record, read_verdict
from excise.run.statistics import StatisticsFile
from tests.conftest import changed

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    """The tiny job with the tests' own method, on few images."""
    quick = changed(changed(tiny_recipe, "validate_", seeds=1), "sampling", steps=3)
    return changed(changed(quick, "locate", evidence=False), "edit", method="shrink")


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "shrink", "tests.edits.shrink")  # the one line
        return run_job(recipe, tmp_path_factory.mktemp("runs") / "shrink", say=lambda _: None)


def test_its_statistics_are_collected_because_it_declares_them(recipe: Recipe, run: Run) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "shrink", "tests.edits.shrink")
        demand = demand_of(recipe)
    assert demand.of("memorized") == demand.of("empty") == ("column_energy", "second_moment")
    assert demand_of(changed(recipe, "edit", method="zero")).of("memorized") == ("column_energy",)
    site = Checkpoint.open(recipe.model.path).sites()[0]
    found = StatisticsFile(run).total("second_moment", "memorized", "both", site.name).tensors()
    assert found["products"].shape == (site.neurons, site.neurons)
    torch.testing.assert_close(found["products"], found["products"].T)


def test_the_need_is_part_of_collects_fingerprint(recipe: Recipe) -> None:
    sets, other = prompt_sets(recipe), changed(recipe, "edit", method="zero")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "shrink", "tests.edits.shrink")
        stages = [Fingerprints(found, sets, demand_of(found)) for found in (recipe, other)]
    from excise.job.sequence import STAGES

    shrink, zero = (found.of(STAGES[0], {}) for found in stages)
    assert {key for key in shrink if shrink[key] != zero[key]} == {"demand"}


def test_its_record_says_what_it_changed_and_diff_agrees(recipe: Recipe, run: Run) -> None:
    record = read_edit_record(run)
    base = Checkpoint.open(recipe.model.path)
    assert record.method == "shrink" and record.zeroed is None
    assert list(record.tensors) == [site.tensor for site in base.sites()]
    for name, tensor in record.tensors.items():
        (copy,) = tensor.copies.values()
        before, after = base.read(name), Checkpoint.open(run.edited).read(name)
        assert copy.changed == int((before != after).sum()) > 0
        assert copy.norm == pytest.approx(torch.linalg.vector_norm(after.double() - before.double()).item(), rel=1e-6)
    assert find_differences(recipe.model.path, run.edited, None).as_planned
    assert read_verdict(run).edited.weights_changed == record.weights_changed > 0


def test_pages_say_what_was_done_without_the_word_zero(run: Run) -> None:
    summary = run.summary.read_text()
    assert "the weights of 7 of its layers changed" in summary and "set to zero" not in summary
