"""Edits one after another: each works on what those before it left, and a training's teacher stays the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from excise.checkpoint import Checkpoint
from excise.diffusion.patching import Change
from excise.diffusion.sites import Site
from excise.edits import changes_of, method, needs
from excise.edits.chain import fitted
from excise.files.trees import read_tree
from excise.job.grids import Candidate
from excise.recipe import Edit, Locate, ProjectEdit, Recipe
from tests.conftest import changed
from tests.edits.gathered import Gathered
from tests.edits.schooling import QUICK, Counter, training, unlearn

SITE = Site("a", 6, 10)
MASK = torch.rand(6, 10, generator=torch.Generator().manual_seed(0)) < 0.3
PROJECT = ProjectEdit(directions=2)


def material(name: str, before: Mapping[str, Change]) -> Gathered:
    settings = {"project": PROJECT}.get(name)
    return Gathered(settings, (SITE,), {"a": MASK}, before=before)


def test_a_chain_is_its_edits_in_turn_and_states_no_zeros_that_another_could_fill() -> None:
    weight = torch.randn(6, 10)
    zero, project = (changes_of(method(name).fit(material(name, {})))["a.weight"] for name in ("zero", "project"))
    for names, wanted in ((("zero", "project"), project(zero(weight))), (("project", "zero"), zero(project(weight)))):
        (tensor,) = fitted(names, material).tensors.values()
        assert torch.equal(tensor.change(weight), wanted)
        assert (tensor.entries, tensor.zeroed) == (60, None)
    assert fitted(("zero",), material).tensors["a.weight"].zeroed == int(MASK.sum())


def test_each_is_fitted_on_the_weights_as_they_were_left() -> None:
    seen = []

    def watched(name: str, before: Mapping[str, Change]) -> Gathered:
        seen.append(material(name, before).weight(SITE))
        return material(name, before)

    fitted(("zero", "project"), watched)
    assert torch.equal(seen[1], seen[0].masked_fill(MASK, 0.0)) and not torch.equal(*seen)


def test_a_training_starts_from_the_edited_weights_and_is_taught_by_the_base(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    base = Checkpoint.open(tiny_checkpoint)
    before: dict[str, Change] = {site.tensor: lambda weight: 0.0 * weight for site in base.sites()}
    name, still = next(iter(before)), QUICK.model_copy(update={"steps": 1, "learning_rate": 1e-9})
    kept = []
    for where, changes in (("plain", {}), ("chained", before)):
        counter = Counter()
        taken = replace(training(tiny_checkpoint, tmp_path / where, counter), before=changes)
        learned = changes_of(unlearn(still, taken))[name](base.read(name))
        assert (float(learned.abs().max()) < 1e-6) is bool(changes)
        kept += counter.losses("kept")
    assert kept[0] < 1e-9 < 1e-4 < kept[1]  # the teacher says what the base says, and the pupil begins elsewhere
    drawn = [read_tree(tmp_path / where / "pictures.safetensors")["drawn"] for where in ("plain", "chained")]
    assert torch.equal(*drawn)


def test_a_recipe_names_each_method_once_and_needs_what_all_of_them_need(tiny_recipe: Recipe) -> None:
    edit = Edit(method="project", then=("unlearn",))
    assert (edit.methods, edit.named, edit.trained) == (("project", "unlearn"), "project then unlearn", edit.unlearn)
    found = needs(edit.methods)
    assert (found.training, found.weights, found.retained, found.statistics) == (True, True, True, {"second_moment"})
    assert changed(tiny_recipe, "edit", method="project", then=("unlearn",)).edited == "ffn+all"
    for then in (["unlearn", "unlearn"], ["project"], ["shrink"]):
        with pytest.raises(ValidationError, match="then"):
            Edit.model_validate({"method": "project", "then": then})


def test_a_sweep_tells_a_chain_by_all_of_its_methods() -> None:
    candidate = Candidate("ffn", Locate(), Edit(method="project", then=("zero",)))
    assert candidate.name.startswith("project inputs λ>30 then zero entries")
