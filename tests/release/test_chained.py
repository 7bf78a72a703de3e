"""Edits one after another go through plan, record, diff, card and verify as one does, in either order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.edits import changes_of
from excise.edits.chain import fitted
from excise.job.demand import demand_of
from excise.job.runner import run_job
from excise.recipe import Recipe, load_recipe
from excise.report.differences import find_differences
from excise.run.layout import Run
from excise.run.material import materials
from excise.run.results import read_edit_record
from tests.conftest import changed
from tests.jobs import excise
from tests.release.finished import finished_run
from tests.release.forging import forge, found, recounted
from tests.release.test_unlearned import SETTINGS

pytestmark = pytest.mark.e2e
CHAIN = {
    **SETTINGS,
    "edit.method": "project",
    "edit.then": ["unlearn"],
    "edit.project.directions": 2,
    "edit.unlearn.scope": "cross_attention",
}


@pytest.fixture(scope="module")
def run(tiny_recipe: Recipe, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(finished_run(tmp_path_factory.mktemp("chained"), tiny_recipe, tiny_checkpoint, CHAIN))


def recipe_of(run: Run) -> Recipe:
    return load_recipe(run.folder.parent / "recipe.toml")


def test_what_either_may_change_is_changed_and_nothing_else(run: Run) -> None:
    base, record = Checkpoint.open(run.folder.parent / "base"), read_edit_record(run)
    sites = [site.tensor for site in base.sites("ffn")]
    assert (record.method, record.sites) == ("project then unlearn", "ffn+cross_attention")
    assert {name: tensor.entries for name, tensor in record.tensors.items()} == base.editable(record.sites)
    assert set(record.tensors) == {*sites, *base.editable("cross_attention")}
    assert find_differences(base.folder, run.edited, None).as_planned
    projected, edited = changed(recipe_of(run), "edit", then=()), Checkpoint.open(run.edited)
    changes = changes_of(fitted(projected.edit.methods, materials(run, projected, base)))
    assert all(torch.equal(edited.read(name), changes[name](base.read(name))) for name in sites)
    assert demand_of(recipe_of(run)).fitted == ("second_moment",)
    assert "of its layers changed" in (run.release / "README.md").read_text()
    planned = excise("plan", run.folder.parent / "recipe.toml")
    assert planned.exit_code == 0 and "project then unlearn" in planned.output, planned.output


def test_verify_holds_a_release_to_the_chain_of_its_recipe(run: Run, tmp_path: Path) -> None:
    base = run.folder.parent / "base"
    done = excise("verify", run.release, "--base", base)
    assert done.exit_code == 0, done.output
    copy = Path(shutil.copytree(run.release, tmp_path / "method"))
    forge(copy, recounted(lambda record: record["edit"].update(method="unlearn", sites="cross_attention")))
    faults = " ".join(found(copy, base))
    assert "edit.method is 'unlearn', but the recipe's 'project then unlearn'" in faults
    assert "edit.sites is 'cross_attention', but the recipe's 'ffn+cross_attention'" in faults


def test_the_other_order_projects_what_was_trained(run: Run) -> None:
    """In the same folder: nothing is collected again, and what is projected is no longer the base's."""
    recipe = changed(recipe_of(run), "edit", method="unlearn", then=("project",))
    recipe = changed(recipe, "edit", unlearn=recipe.edit.unlearn.model_copy(update={"scope": "ffns"}))
    said: list[str] = []
    run_job(recipe, run.folder, until="edit", say=said.append)
    assert any("collect: done before" in line for line in said), said
    base, edited, record = Checkpoint.open(recipe.model.path), Checkpoint.open(run.edited), read_edit_record(run)
    assert (record.method, record.sites) == ("unlearn then project", "ffns+ffn")
    assert record.tensors.keys() == base.editable("ffns").keys()
    changes = changes_of(fitted(("project",), materials(run, recipe, base)))
    name = base.sites("ffn")[0].tensor
    before, written = base.read(name), edited.read(name)
    assert not torch.equal(written, changes[name](before))
    torch.testing.assert_close(changes[name](written), written)  # the projection came last: another changes nothing,
    assert not torch.allclose(changes[name](before), before)  # which is no more than it does to the base
