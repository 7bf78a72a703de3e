"""project deletes what memorized inputs use more, keeps what is to be kept, and says what it cannot do."""

from __future__ import annotations

import pytest
import torch

from excise.diffusion.sites import Site
from excise.edits import method
from excise.errors import ExciseError
from excise.recipe import ProjectEdit
from tests.edits.gathered import PLANTED, Gathered

SITE = Site("a", 20, 16)
RANKED = ProjectEdit(directions=PLANTED)


def responses(settings: ProjectEdit, prompts: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Before and after: ``(tokens, outputs)``."""
    material = Gathered(settings, (SITE,))
    weight, inputs = material.weight(SITE).double(), material.inputs(SITE, prompts)
    edited = method("project").fit(material).apply(SITE, weight)
    return inputs @ weight.T, inputs @ edited.T


@pytest.mark.parametrize("changes", [{}, {"side": "outputs"}, {"directions": None, "filter": 0.05}])
def test_it_takes_planted_energy_away_and_little_else(changes: dict[str, object]) -> None:
    settings = RANKED.model_copy(update=changes)
    before, after = responses(settings, "memorized")
    assert after.square().mean() < 0.1 * before.square().mean()
    before, after = responses(settings, "retained")
    assert (after - before).square().mean() < 0.1 * before.square().mean()


def test_an_orthogonal_deletion_takes_the_same_and_costs_more() -> None:
    lost = []
    for obliqueness in (0.0, 1.0):
        settings = RANKED.model_copy(update={"obliqueness": obliqueness})
        before, after = responses(settings, "memorized")
        assert after.square().mean() < 0.1 * before.square().mean()
        before, after = responses(settings, "retained")
        lost.append(float((after - before).square().mean()))
    assert lost[0] > 2 * lost[1]


def test_the_cheapest_deletion_costs_what_it_foretells() -> None:
    before, after = responses(RANKED, "retained")
    measured = float((after - before).square().sum(dim=1).mean() / before.square().sum(dim=1).mean())
    dear = RANKED.model_copy(update={"directions": None, "threshold": 20.0, "cost": measured * 1.05})
    cheap = dear.model_copy(update={"cost": measured * 0.95})
    material = Gathered(dear, (SITE,))
    weight = material.weight(SITE)
    wanted = method("project").fit(Gathered(RANKED, (SITE,))).apply(SITE, weight)
    assert torch.allclose(method("project").fit(material).apply(SITE, weight), wanted, atol=1e-5)
    other = method("project").fit(Gathered(cheap, (SITE,))).apply(SITE, weight)
    assert torch.linalg.matrix_rank(other - weight, atol=1e-4) == PLANTED - 1


def test_deleted_twice_is_deleted_once() -> None:
    material = Gathered(RANKED, (SITE,))
    edit, weight = method("project").fit(material), material.weight(SITE).double()
    once = edit.apply(SITE, weight)
    assert torch.allclose(edit.apply(SITE, once), once, atol=1e-9)
    assert torch.linalg.matrix_rank(once - weight, atol=1e-8) == PLANTED


def test_a_threshold_takes_the_planted_directions_and_no_others() -> None:
    material = Gathered(ProjectEdit(threshold=20.0), (SITE, Site("b", 20, 14)))
    edit = method("project").fit(material)
    for site in edit.sites:
        weight = material.weight(site).double()
        assert torch.linalg.matrix_rank(edit.apply(site, weight) - weight, atol=1e-8) == PLANTED


def test_what_cannot_be_done_is_told() -> None:
    with pytest.raises(ExciseError, match=r"edit\.project: no direction .*lower edit\.project\.threshold"):
        method("project").fit(Gathered(ProjectEdit(threshold=1e9), (SITE,)))
    with pytest.raises(ExciseError, match=r"edit\.project\.directions = 17: a has 16 of its inputs"):
        method("project").fit(Gathered(ProjectEdit(directions=17), (SITE,)))

    class Broken(Gathered):
        def inputs(self, site: Site, prompts: str) -> torch.Tensor:
            return super().inputs(site, prompts) * (torch.nan if prompts == "retained" else 1.0)

    with pytest.raises(ExciseError, match="second moments at a over retained prompts are not finite"):
        method("project").fit(Broken(RANKED, (SITE,)))
