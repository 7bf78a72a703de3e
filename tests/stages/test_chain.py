"""collect, rank, locate and edit in a row: what must not change what is located, and what evidence costs and shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from excise.job.demand import demand_of
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.job_record import JobRecord
from excise.run.layout import Run
from excise.run.results import read_edit_record, read_located
from excise.run.subspace import read_masks
from excise.stages import attack, collect, edit, locate, rank, report, validate
from tests.conftest import changed
from tests.jobs import context_of
from tests.trial.tried import Tried

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def chain(recipe: Recipe, sets: PromptSets, folder: Path) -> Run:
    """A run up to its edit."""
    context = context_of(recipe, folder, sets)
    for stage in (collect, rank, locate, edit):
        stage.run(context)
    return context.run


def chosen(tried: Tried, **settings: object) -> Recipe:
    return changed(tried.recipe, "locate", **settings)


@pytest.fixture(scope="module")
def bare(tried: Tried, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The job of `tried` up to its edit, without evidence."""
    return chain(chosen(tried, evidence=False), tried.sets, tmp_path_factory.mktemp("bare"))


def test_what_is_not_held_out_decides_nothing_before_validate(tried: Tried, tmp_path: Path) -> None:
    """Locating without the prompts that only judge gives the same bytes."""
    sets = tried.sets
    assert sets.held_out and sets.judged and sets.never_seen
    blind = dataclasses.replace(sets, held_out=(), judged=(), never_seen=())
    run = chain(tried.recipe, blind, tmp_path)
    for name in ("statistics", "scores", "subspace", "evidence", "edit_record"):
        assert getattr(run, name).read_bytes() == getattr(tried.run, name).read_bytes()
    assert (run.edited / WEIGHTS).read_bytes() == (tried.run.edited / WEIGHTS).read_bytes()


def test_without_evidence_no_control_is_collected(tried: Tried, bare: Run) -> None:
    """And what is collected has the same bits."""
    assert "control" in demand_of(tried.recipe).sets
    assert demand_of(chosen(tried, evidence=False)).sets == ("memorized", "empty")
    found, whole = load_file(bare.statistics), load_file(tried.run.statistics)
    assert found.keys() == {name for name in whole if not name.startswith("control/")} < whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in found.items())
    scored = {name.split("/")[0] for name in load_file(bare.scores)}
    assert scored == {"memorized", "contrast"}
    assert not any(name.startswith("memorized/0/") for name in load_file(bare.scores))


def test_without_evidence_the_masks_and_the_edit_are_the_same(tried: Tried, bare: Run) -> None:
    sites = tried.context.base.sites()
    masks, expected = read_masks(bare, sites), read_masks(tried.run, sites)
    assert all(torch.equal(masks[name], expected[name]) for name in expected) and any(m.any() for m in masks.values())
    assert bare.subspace.read_bytes() == tried.run.subspace.read_bytes()
    assert (bare.edited / WEIGHTS).read_bytes() == (tried.run.edited / WEIGHTS).read_bytes()
    assert read_edit_record(bare) == read_edit_record(tried.run)


def test_without_evidence_the_numbers_say_so(tried: Tried, bare: Run) -> None:
    found, whole = read_located(bare), read_located(tried.run)
    assert found.iou is None and found.control_selected is None and whole.iou is not None
    assert all(site.control_selected is None and site.iou_with_control is None for site in found.sites)
    assert (found.selected, found.entries, found.share) == (whole.selected, whole.entries, whole.share)
    same = {"name", "outputs", "neurons", "selected", "columns", "selected_by_call"}
    assert [site.model_dump(include=same) for site in found.sites] == [
        site.model_dump(include=same) for site in whole.sites
    ]


def test_without_evidence_the_pages_say_so(tried: Tried, bare: Run) -> None:
    recipe = chosen(tried, evidence=False)
    recipe = changed(changed(recipe, "validate_", seeds=1, random_edits=0), "model", twin=None)
    context = context_of(recipe, bare.folder, tried.sets)
    JobRecord().save(bare)
    for stage in (attack, validate, report):
        stage.run(context)
    page, summary = bare.report.read_text(encoding="utf-8"), bare.summary.read_text(encoding="utf-8")
    assert "The recipe asks for no evidence (<code>locate.evidence</code>)" in page
    assert "Mean IoU" not in page and "Mean IoU" not in summary and "evidence = False" in summary
    assert "the same search with ordinary prompts" not in page
    whole = tried.run.report.read_text(encoding="utf-8")
    assert "asks for no evidence" not in whole and "the same search with ordinary prompts" in whole
    assert "Mean IoU" in whole and "Mean IoU between groups" in tried.run.summary.read_text(encoding="utf-8")


def test_few_ordinary_prompts_are_enough_without_evidence(tried: Tried, bare: Run, tmp_path: Path) -> None:
    """The control groups may be missing altogether."""
    sets = dataclasses.replace(tried.sets, control=(), contrast=())
    run = chain(chosen(tried, evidence=False), sets, tmp_path)
    assert run.subspace.read_bytes() == bare.subspace.read_bytes()
    assert read_located(run).control_groups == ()
