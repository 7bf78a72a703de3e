"""compensate gives kept prompts back what was dropped, and memorized ones as much of it as its importance says."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from excise.diffusion.sites import Site
from excise.edits import changes_of, method
from excise.errors import ExciseError
from excise.recipe import CompensateEdit
from tests.edits.gathered import PLANTED, Gathered

SITE = Site("a", 20, 16, first=2)
OTHER = Site("b", 6, 8)
MASKS = {
    "a": torch.rand(20, 16, generator=torch.Generator().manual_seed(0)) < 0.4,
    "b": torch.zeros(6, 8, dtype=torch.bool),
}
LOCATED = CompensateEdit(ridge=1e-9)


def edited(settings: CompensateEdit, weight: Tensor, masks: dict[str, Tensor] = MASKS) -> Tensor:
    """The site's weight after the edit; what lies beside it stays."""
    whole = torch.cat([torch.ones(20, 2), weight, torch.ones(20, 3)], dim=1).double()
    found = changes_of(method("compensate").fit(Gathered(settings, (SITE, OTHER), masks)))[SITE.tensor](whole)
    assert torch.equal(found[:, :2], whole[:, :2]) and torch.equal(found[:, 18:], whole[:, 18:])
    return SITE.matrix(found)


def moved(settings: CompensateEdit, prompts: str, to: str = "old", masks: dict[str, Tensor] = MASKS) -> float:
    """Share of the energy by which responses differ from those of the old weight, or of the dropped one."""
    material = Gathered(settings, (SITE,), masks)
    weight, inputs = material.weight(SITE).double(), material.inputs(SITE, prompts)
    wanted = weight if to == "old" else weight * ~masks["a"]
    return float((inputs @ (edited(settings, weight, masks) - wanted).T).norm() / (inputs @ wanted.T).norm())


def test_kept_prompts_alone_bring_everything_back() -> None:
    """The known failure of compensating without a term for what is to be forgotten."""
    alone = LOCATED.model_copy(update={"importance": 0.0})
    assert moved(alone, "retained") < 1e-4 and moved(alone, "memorized") < 1e-4
    assert moved(alone, "memorized", "dropped") > 0.5


def test_the_more_memorized_prompts_weigh_the_nearer_they_are_to_what_was_dropped() -> None:
    found = [LOCATED.model_copy(update={"importance": beta}) for beta in (0.0, 0.1, 10.0, 1e9)]
    dropped = [moved(settings, "memorized", "dropped") for settings in found]
    assert dropped == sorted(dropped, reverse=True) and dropped[-1] < 1e-4
    kept = [moved(settings, "retained") for settings in found]
    assert kept == sorted(kept)


def test_with_some_weight_it_takes_memorized_responses_and_keeps_the_others() -> None:
    """Zeroing alone moves both by half."""
    settings = LOCATED.model_copy(update={"importance": 0.3})
    zeroed = LOCATED.model_copy(update={"ridge": 1e12})
    assert moved(zeroed, "retained") > 0.4
    assert moved(settings, "retained") < 0.5 * moved(zeroed, "retained")
    assert moved(settings, "memorized", "dropped") < 0.3 * moved(settings, "memorized")


def test_held_weights_stay_zero_and_the_others_make_up_for_them() -> None:
    held = LOCATED.model_copy(update={"held": True, "importance": 0.0})
    weight = Gathered(held, (SITE,)).weight(SITE).double()
    after = edited(held, weight)
    assert not after[MASKS["a"]].any() and not torch.equal(after, weight * ~MASKS["a"])
    zeroed = LOCATED.model_copy(update={"ridge": 1e12})
    assert moved(held, "retained") < 0.8 * moved(zeroed, "retained")


def test_columns_held_are_all_solved_alike() -> None:
    columns = {"a": (torch.arange(16) % 3 == 0).expand(20, 16)}
    held = LOCATED.model_copy(update={"held": True})
    assert not edited(held, Gathered(held, (SITE,)).weight(SITE), columns | {"b": MASKS["b"]})[:, ::3].any()


def test_directions_are_dropped_as_project_drops_them() -> None:
    """With all weight on memorized prompts nothing returns that they would see."""
    settings = CompensateEdit(dropped="directions", directions=PLANTED, importance=1e6)
    material = Gathered(settings, (SITE,))
    weight, inputs = material.weight(SITE).double(), material.inputs(SITE, "memorized")
    projected = method("project").fit(material)
    whole = torch.cat([torch.zeros(20, 2).double(), weight], dim=1)
    wanted = SITE.matrix(changes_of(projected)[SITE.tensor](whole))
    assert (inputs @ (edited(settings, weight) - wanted).T).norm() < 1e-3 * (inputs @ weight.T).norm()
    soft = settings.model_copy(update={"importance": 0.0})
    assert moved(soft, "retained") < 0.05


def test_a_site_without_a_mask_is_left() -> None:
    found = changes_of(method("compensate").fit(Gathered(LOCATED, (SITE, OTHER), MASKS)))
    assert set(found) == {SITE.tensor}


def test_what_cannot_be_done_is_told() -> None:
    with pytest.raises(ValidationError, match=r"held = true holds located weights"):
        CompensateEdit(dropped="directions", held=True)
    with pytest.raises(ValidationError, match="importance"):
        CompensateEdit(importance=-1.0)
    with pytest.raises(ExciseError, match=r"edit\.compensate: no direction .*lower edit\.compensate\.threshold"):
        method("compensate").fit(Gathered(CompensateEdit(dropped="directions", threshold=1e9), (SITE,)))

    class Broken(Gathered):
        def inputs(self, site: Site, prompts: str) -> Tensor:
            return super().inputs(site, prompts) * (torch.inf if prompts == "memorized" else 1.0)

    change = changes_of(method("compensate").fit(Broken(LOCATED, (SITE,), MASKS)))[SITE.tensor]
    with pytest.raises(ExciseError, match=r"edit\.compensate: the inputs' second moments at a over memorized"):
        change(torch.ones(20, 18))
