"""nemo: which outputs it may block, that these are what makes the picture, and that a stopped search ends the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from excise.checkpoint import Checkpoint
from excise.diffusion.activity import activity
from excise.diffusion.differences import first_guesses
from excise.diffusion.load import denoiser
from excise.diffusion.patching import Change, patched
from excise.diffusion.sites import Site
from excise.edits import Edit, Training, changes_of, method
from excise.edits.nemo import blocking
from excise.errors import ExciseError
from excise.recipe import NemoEdit, Recipe, Sampling
from tests.conftest import changed
from tests.diffusion.pipelines import save
from tests.edits.gathered import Gathered
from tests.edits.schooling import MEMORIZED, Counter, Stopped, training

ANYTHING = NemoEdit(seeds=2, deviations=-1e6, start=1.0)
"""Every prompt counts as memorized, and nothing that is blocked is enough."""
CPU = torch.device("cpu")


def nemo(settings: NemoEdit, taken: Training) -> Edit:
    material = Gathered(settings, taken.base.sites("cross_value"))
    material.training = taken
    return method("nemo").fit(material)


def alive(base: Checkpoint, outputs: list[int], only: str = "") -> dict[str, Change]:
    """All layers' other outputs say nothing, and these thirty times as much; without ``only``, in every layer."""

    def changed_to(kept: list[int]) -> Change:
        return lambda weight: torch.zeros_like(weight).index_copy(
            0, torch.tensor(kept, dtype=torch.int64), 30.0 * weight[kept]
        )

    sites = base.sites("cross_value")
    return {site.tensor: changed_to(outputs if only in site.name else []) for site in sites}


def blocked_by(edit: Edit, base: Checkpoint) -> dict[str, list[int]]:
    """Which outputs of which layers are blocked; asserts that nothing else differs."""
    found = {}
    for name, change in changes_of(edit).items():
        before = base.read(name)
        after = change(before)
        blocked = (after == 0).all(dim=1)
        assert torch.equal(after[~blocked], before[~blocked]) and not (before == 0).all(dim=1).any()
        assert edit.tensors[name].zeroed == int(blocked.sum()) * before.shape[1]
        found[name] = blocked.nonzero().flatten().tolist()
    return found


def test_what_makes_the_guess_is_found_after_the_edits_before(tiny_checkpoint: Path, tmp_path: Path) -> None:
    base = Checkpoint.open(tiny_checkpoint)
    site = next(site for site in base.sites("cross_value") if site.name.startswith("mid_block."))
    taken = replace(training(tiny_checkpoint, tmp_path), before=alive(base, [7], site.name))
    assert blocked_by(nemo(ANYTHING, taken), base) == {site.tensor: [7]}


def test_a_stopped_search_blocks_the_same_and_nothing_on_the_way_up(tiny_checkpoint: Path, tmp_path: Path) -> None:
    base = Checkpoint.open(tiny_checkpoint)

    def found(place: str, counter: Counter | None = None, **settings: object) -> dict[str, list[int]]:
        taken = replace(training(tiny_checkpoint, tmp_path / place, counter), before=alive(base, [1, 4, 9]))
        return blocked_by(nemo(ANYTHING.model_copy(update=settings), taken), base)

    whole = found("whole")
    with pytest.raises(Stopped):
        found("killed", Counter(2))
    counter = Counter()
    assert found("killed", counter) == whole
    assert counter.began == 2 and len(counter.said) == 1
    assert any(whole.values()) and not any(name.startswith("up_blocks.") for name in whole)
    assert any(name.startswith("up_blocks.") for name in found("up", up=True))


def test_where_nothing_is_memorized_it_is_said(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match=r"nothing is blocked; lower edit\.nemo\.deviations"):
        nemo(ANYTHING.model_copy(update={"deviations": 99.0}), training(tiny_checkpoint, tmp_path))
    with pytest.raises(ExciseError, match=r"prompts\.ordinary: none are left"):
        nemo(ANYTHING, replace(training(tiny_checkpoint, tmp_path / "bare"), neighbours=(), ordinary=()))


def test_other_layers_are_refused(tiny_recipe: Recipe) -> None:
    told = changed(tiny_recipe, "edit", method="nemo").model_dump(by_alias=True)
    with pytest.raises(ValidationError, match=r"cross_value"):
        Recipe.model_validate(told)
    told["collect"]["sites"] = "cross_value"
    assert Recipe.model_validate(told).edit.methods == ("nemo",)


@pytest.mark.parametrize("family", ["sd3", "flux", "pixart"])
def test_guesses_are_pictures_and_outputs_are_those_of_the_layers(family: str, tmp_path: Path) -> None:
    base = Checkpoint.open(save(family, tmp_path / family))
    pipeline, sampling = base.load(torch.float32, CPU), Sampling(steps=2, guidance=3.0, size=64, batch=2)
    guesses = first_guesses(pipeline, MEMORIZED, [1, 2, 3], sampling)
    assert guesses.ndim == 4 and guesses.shape[2] == guesses.shape[3] and guesses.isfinite().all()
    sites = base.sites("cross_value")
    found = activity(pipeline, sites, MEMORIZED, sampling)
    assert found.shape == (3, sum(site.outputs for site in sites)) and (found > 0).any(dim=1).all()
    blocked = torch.zeros(found.shape[1], dtype=torch.bool)
    blocked[:5] = True
    with patched(denoiser(pipeline), changes_of(blocking(sites, blocked))):
        left = activity(pipeline, sites, MEMORIZED, sampling)
    assert (left[:, :5] == 0).all() and torch.equal(left[:, 5 : sites[0].outputs], found[:, 5 : sites[0].outputs])


def test_blocking_takes_whole_outputs_of_the_sites_that_have_some() -> None:
    sites = (Site("a", 3, 4), Site("b", 2, 5))
    edit = blocking(sites, torch.tensor([False, True, False, False, False]))
    assert edit.sites == sites[:1]
    weight = torch.ones(3, 4)
    assert edit.apply(sites[0], weight).tolist() == [[1.0] * 4, [0.0] * 4, [1.0] * 4]
