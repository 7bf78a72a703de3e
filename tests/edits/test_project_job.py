"""project in a job: fitted on memorized prompts against ordinary ones and neighbours, and written byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.edits import method
from excise.job.demand import demand_of
from excise.job.runner import run_job
from excise.mathematics.directions import directions, ridged
from excise.mathematics.second_moment import SecondMoment, mean_product
from excise.recipe import ProjectEdit, Recipe
from excise.report.differences import find_differences
from excise.run.layout import Run
from excise.run.material import RunMaterial
from excise.run.results import read_edit_record
from excise.run.statistics import StatisticsFile
from tests.conftest import changed
from tests.job.test_reads import neighbours_table

pytestmark = pytest.mark.e2e
SETTINGS = ProjectEdit(directions=2)


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    table = neighbours_table(tmp_path_factory.mktemp("tables"))
    beside = changed(tiny_recipe, "prompts", neighbours=table)
    beside = changed(changed(beside, "locate", evidence=False, contrast="neighbours"), "sampling", steps=3)
    return changed(beside, "edit", method="project", project=SETTINGS)


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_job(recipe, tmp_path_factory.mktemp("runs") / "project", until="edit", say=lambda _: None)


def test_ordinary_prompts_and_neighbours_are_to_be_kept(recipe: Recipe, run: Run) -> None:
    demand = demand_of(recipe)
    assert demand.sets == ("memorized", "contrast", "neighbours") and demand.fitted == ("second_moment",)
    base, statistics = Checkpoint.open(recipe.model.path), StatisticsFile(run)
    material = RunMaterial.of(run, recipe, base, "project", SETTINGS)
    site = base.sites()[0]
    kept = material.statistic("second_moment", "retained", site)
    parts = [statistics.total("second_moment", name, recipe.locate.rows, site.name) for name in demand.sets[1:]]
    assert torch.equal(kept.tensors()["tokens"], sum(part.tensors()["tokens"] for part in parts))
    torch.testing.assert_close(kept.tensors()["products"], sum(part.tensors()["products"] for part in parts))
    with pytest.raises(KeyError, match="NEEDS"):
        RunMaterial.of(run, recipe, base, "zero", None).weight(site)


def test_what_is_written_is_the_projection_of_every_site(recipe: Recipe, run: Run) -> None:
    base, edited = Checkpoint.open(recipe.model.path), Checkpoint.open(run.edited)
    material = RunMaterial.of(run, recipe, base, "project", SETTINGS)
    for site in base.sites():
        moments = [material.statistic("second_moment", name, site) for name in ("memorized", "retained")]
        memorized, kept = (mean_product(found) for found in moments if isinstance(found, SecondMoment))
        found = directions(memorized, ridged(kept, SETTINGS.ridge)).first(2)
        weight = site.matrix(base.read(site.tensor))
        wanted = (weight.double() - weight.double() @ found.patterns @ found.readouts.T).to(weight.dtype)
        assert torch.equal(site.matrix(edited.read(site.tensor)), wanted) and not torch.equal(wanted, weight)
    record = read_edit_record(run)
    assert record.method == "project" and record.zeroed is None and method("project").ZEROES is False
    assert find_differences(recipe.model.path, run.edited, None).as_planned


def test_plan_names_what_is_collected_for_it(recipe: Recipe, tmp_path: Path) -> None:
    without = changed(recipe, "edit", method="zero")
    assert demand_of(without).sets == ("memorized", "neighbours") and demand_of(without).fitted == ()
