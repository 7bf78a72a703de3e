"""edit: the folder it writes is the base with the located weights at zero, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.patching import patched
from excise.diffusion.sites import Site
from excise.edits import changes_of, method
from excise.prompts.sets import PromptSets
from excise.recipe import RandomEdit, Recipe
from excise.run.material import RunMaterial
from excise.run.results import read_edit_record
from excise.run.subspace import read_masks
from excise.stages import edit, locate, rank
from excise.stages.context import Context
from tests.conftest import changed
from tests.jobs import context_of
from tests.stages.plain import pipeline_of

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def located(tiny_recipe: Recipe, tiny_sets: PromptSets, folder: Path) -> Context:
    """A job after locate."""
    context = context_of(tiny_recipe, folder, tiny_sets)
    rank.run(context)
    locate.run(context)
    return context


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = DiffusionPipeline.from_pretrained(folder).unet.state_dict()
    return found


def test_the_edited_folder_is_the_base_with_those_weights_zero(located: Context, tiny_sites: tuple[Site, ...]) -> None:
    run = located.run
    edit.run(located)
    masks = read_masks(run, tiny_sites)
    old = weights(located.base.folder)
    edited = DiffusionPipeline.from_pretrained(run.edited)
    expected = {site.tensor: old[site.tensor].masked_fill(masks[site.name], 0.0) for site in tiny_sites}
    for name, value in edited.unet.state_dict().items():
        assert torch.equal(value, expected.get(name, old[name])), name
    pipeline = pipeline_of(located.recipe)
    inputs = torch.randn(1, 4, 8, 8), 400, torch.randn(1, 24, 16)
    changes = changes_of(method("zero").fit(RunMaterial.of(run, located.recipe, located.base, "zero", None)))
    with torch.no_grad():
        before = pipeline.unet(*inputs).sample
        with patched(pipeline.unet, changes):
            assert torch.equal(pipeline.unet(*inputs).sample, edited.unet(*inputs).sample)
        assert torch.equal(pipeline.unet(*inputs).sample, before) and not changes.keys() - expected.keys()


def test_the_record_says_what_was_changed(located: Context, tiny_sites: tuple[Site, ...]) -> None:
    base, run = located.base.folder, located.run
    edit.run(located)
    masks, record = read_masks(run, tiny_sites), read_edit_record(run)
    assert (record.base, record.method, record.sites) == (base.name, "zero", "ffn")
    assert record.changed == [WEIGHTS]
    assert record.zeroed == record.weights_changed == sum(int(mask.sum()) for mask in masks.values()) > 0
    old, new = weights(base), weights(run.edited)
    assert list(record.tensors) == [site.tensor for site in tiny_sites if masks[site.name].any()]
    for site in tiny_sites:
        found, count = record.tensors[site.tensor], int(masks[site.name].sum())
        assert (found.entries, found.zeroed) == (site.outputs * site.neurons, count)
        assert list(found.copies) == [WEIGHTS]
        copy = found.copies[WEIGHTS]
        pair = old[site.tensor], new[site.tensor]
        assert [copy.before, copy.after] == [sha256(weight.numpy().tobytes()) for weight in pair]
        assert copy.changed == count  # random weights are not zero before
        assert copy.norm == pytest.approx(pair[0][masks[site.name]].double().norm().item(), rel=1e-8)
    for name, hashes in record.files.items():
        assert hashes.base == sha256((base / name).read_bytes())
        assert hashes.edited == sha256((run.edited / name).read_bytes())
        assert (hashes.base == hashes.edited) == (name != WEIGHTS)
    assert set(record.files) == {file.relative_to(base).as_posix() for file in base.rglob("*") if file.is_file()}


def test_the_recipe_chooses_the_edit(located: Context, tiny_sites: tuple[Site, ...]) -> None:
    recipe = changed(located.recipe, "edit", method="random", random=RandomEdit(draw=3))
    drawn = Context(recipe, located.sets, located.run, located.demand)
    edit.run(drawn)
    record, masks = read_edit_record(drawn.run), read_masks(drawn.run, tiny_sites)
    assert record.method == "random"
    assert {name: tensor.zeroed for name, tensor in record.tensors.items()} == {
        site.tensor: int(masks[site.name].sum()) for site in tiny_sites
    }
    new = weights(drawn.run.edited)
    assert any(not torch.equal(new[site.tensor] == 0, masks[site.name]) for site in tiny_sites)
    once = (drawn.run.edited / WEIGHTS).read_bytes()
    edit.run(drawn)
    assert (drawn.run.edited / WEIGHTS).read_bytes() == once
