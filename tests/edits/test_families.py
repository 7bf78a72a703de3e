"""Closed forms at every family of sites: fitted on what was collected there, and written into the checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.diffusion.sites import FAMILIES
from excise.edits import changes_of, method
from excise.job.runner import run_job
from excise.recipe import CompensateEdit, ProjectEdit, Recipe, Section
from excise.report.differences import find_differences
from excise.run.layout import Run
from excise.run.material import RunMaterial
from tests.conftest import changed
from tests.diffusion.pipelines import save

pytestmark = pytest.mark.e2e
SETTINGS: dict[str, Section] = {
    "project": ProjectEdit(directions=2),
    "compensate": CompensateEdit(importance=0.5),
}


def with_edit(recipe: Recipe, name: str, family: str) -> Recipe:
    """A small job with second moments, of few calls."""
    small = changed(changed(recipe, "locate", evidence=False, sparsity=0.2), "sampling", steps=2)
    small = changed(changed(small, "collect", sites=family, calls=2), "edit", method=name, **{name: SETTINGS[name]})
    return small


def expected(run: Run, recipe: Recipe, base: Checkpoint, name: str) -> dict[str, Tensor]:
    """The tensors as the edit that is fitted in memory changes them."""
    changes = changes_of(method(name).fit(RunMaterial.of(run, recipe, base, name, SETTINGS[name])))
    return {tensor: change(base.read(tensor)) for tensor, change in changes.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_of_the_family_is_edited_and_no_other_tensor(
    family: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    base = Checkpoint.open(tiny_recipe.model.path)
    for name in SETTINGS:  # what is collected is the same, and collected once
        recipe = with_edit(tiny_recipe, name, family)
        run = run_job(recipe, tmp_path / "run", until="edit", say=lambda _: None)
        wanted, edited = expected(run, recipe, base, name), Checkpoint.open(run.edited)
        assert set(wanted) == {site.tensor for site in base.sites(family)}
        for tensor, weight in wanted.items():
            assert torch.equal(edited.read(tensor), weight)
            assert weight.isfinite().all() and not torch.equal(weight, base.read(tensor))
        assert find_differences(recipe.model.path, run.edited, None).as_planned


@pytest.mark.parametrize(("pipeline", "family"), [("sd3", "self_output"), ("flux", "cross_value"), ("sana", "ffn")])
def test_streams_of_text_and_convolutions_too(pipeline: str, family: str, tiny_recipe: Recipe, tmp_path: Path) -> None:
    folder = save(pipeline, tmp_path / pipeline)
    recipe = changed(with_edit(tiny_recipe, "compensate", family), "model", path=folder)
    recipe = changed(recipe, "sampling", size=64)
    run = run_job(recipe, tmp_path / "run", until="edit", say=lambda _: None)
    base, edited = Checkpoint.open(folder), Checkpoint.open(run.edited)
    wanted = expected(run, recipe, base, "compensate")
    assert set(wanted) == {site.tensor for site in base.sites(family)}
    assert all(torch.equal(edited.read(tensor), weight) for tensor, weight in wanted.items())
