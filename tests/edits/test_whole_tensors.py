"""An edit of whole tensors, biases and norms among them, is recorded, planned and compared as one of sites is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from excise.checkpoint import Checkpoint
from excise.edits import METHODS
from excise.edits.edit_record import said
from excise.job.demand import demand_of
from excise.job.estimate import estimate
from excise.recipe import Edit, Recipe, ScopedEdit
from excise.report.differences import find_differences
from excise.run.layout import Run
from excise.run.results import read_edit_record
from excise.stages import edit
from tests.jobs import context_of

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


class Shifting(Edit):
    method: str = "shift"  # type: ignore[assignment]
    shift: ScopedEdit = ScopedEdit(scope="ffns")


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    return tiny_recipe.model_copy(update={"edit": Shifting()})


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "shift", "tests.edits.shift")
        context = context_of(recipe, tmp_path_factory.mktemp("shift"))
        edit.run(context)  # what it needs is nothing that stages before it leave
        return context.run


def test_the_record_names_each_tensor_of_the_scope_and_nothing_else_differs(recipe: Recipe, run: Run) -> None:
    record, base = read_edit_record(run), Checkpoint.open(recipe.model.path)
    assert (record.sites, recipe.edited) == ("ffns", "ffns") and record.zeroed is None
    expected = {name for name in base.tensors() if ".ff.net." in name}
    assert set(record.tensors) == expected == set(base.editable("ffns")) and len(expected) == 4 * 7
    before, after = (load_file(folder / WEIGHTS) for folder in (base.folder, run.edited))
    for name, value in before.items():
        assert (value != after[name]).any() == (name in expected), name
        if name in expected:
            assert record.tensors[name].entries == value.numel() >= record.tensors[name].copies[WEIGHTS].changed > 0
    assert said(record.tensors) == "the weights of 14 of its layers changed"
    assert find_differences(recipe.model.path, run.edited, None).as_planned


def test_a_tensor_that_was_not_planned_is_found(recipe: Recipe, run: Run, tmp_path: Path) -> None:
    edited = Path(shutil.copytree(run.edited, tmp_path / "edited"))
    weights = load_file(edited / WEIGHTS)
    weights["conv_in.bias"] += 1.0
    save_file(weights, edited / WEIGHTS, {"format": "pt"})
    (fault,) = find_differences(recipe.model.path, edited, run.edit_record).faults
    assert "conv_in.bias differs, and is not in the plan" in fault


def test_plan_counts_what_the_scope_holds(recipe: Recipe, tmp_path: Path) -> None:
    demand = demand_of(recipe.model_copy(update={"edit": Edit()}))
    found, base = estimate(context_of(recipe, tmp_path, demand=demand)), Checkpoint.open(recipe.model.path)
    assert (found.tensors, found.entries) == (28, sum(base.editable("ffns").values()))
    assert found.edited == 4 * found.entries
