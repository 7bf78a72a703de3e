"""Every method that a recipe can name is there, follows the protocol, and has properties that any edit must have."""

from __future__ import annotations

from typing import Literal, get_args

import pytest
import torch

from excise.attacks import ATTACKS
from excise.diffusion.sites import Site
from excise.edits import METHODS, Masks, Needs, changes_of, method
from excise.mathematics.statistics import STATISTICS
from excise.recipe import Attack, Edit
from excise.recipe.edit import Method
from tests.edits.gathered import Gathered

SITES = (Site("a", 6, 10), Site("b", 4, 8, first=3))
MASKS = {"a": torch.rand(6, 10, generator=torch.Generator().manual_seed(0)) < 0.3, "b": torch.eye(4, 8) > 0}


def test_recipes_name_the_registered_methods_and_attacks() -> None:
    assert set(get_args(Method)) == set(METHODS)
    assert Edit.model_fields["method"].annotation == Method | Literal["auto"]
    (names, _) = get_args(Attack.model_fields["methods"].annotation)
    assert set(get_args(names)) == set(ATTACKS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_declares_what_there_is(name: str) -> None:
    needs = method(name).NEEDS
    assert isinstance(method(name).ZEROES, bool)
    assert isinstance(needs, Needs) and needs.statistics <= STATISTICS.keys()


FITTED = [name for name in METHODS if not method(name).NEEDS.training]
"""Those that are fitted on statistics and masks; others have tests of their own."""


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_edit_keeps_shape_dtype_and_what_is_not_the_sites(name: str, dtype: torch.dtype) -> None:
    settings = Edit(method=name).settings(name)  # type: ignore[arg-type]
    edit = method(name).fit(Gathered(settings, SITES, MASKS))
    changes = changes_of(edit)
    assert set(changes) == {site.tensor for site in edit.sites} == {"a.weight", "b.weight"}
    for site in edit.sites:
        weight = torch.randn(site.outputs, site.first + site.neurons + 2).to(dtype)  # columns of others on both sides
        before = weight.clone()
        after = changes[site.tensor](weight)
        assert torch.equal(weight, before)
        assert after.dtype == dtype and after.shape == weight.shape
        outside = torch.ones_like(weight, dtype=torch.bool)
        outside[:, site.first : site.first + site.neurons] = False
        assert torch.equal(after[outside], before[outside])
        assert (edit.zeroed(site) is not None) is method(name).ZEROES
        if method(name).ZEROES:
            assert edit.zeroed(site) == int((site.matrix(after) == 0).sum())


def test_zero_takes_the_mask_and_leaves_a_site_without_one() -> None:
    masks = MASKS | {"b": torch.zeros(4, 8, dtype=torch.bool)}
    edit = method("zero").fit(Masks(None, SITES, masks))
    assert [site.name for site in edit.sites] == ["a"]
    weight = torch.randn(6, 10)
    assert torch.equal(edit.apply(SITES[0], weight), weight * ~masks["a"])
