"""The control: as large per site as the mask, at random places."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from excise.diffusion.sites import Site
from excise.edits import Masks, method
from excise.recipe import RandomEdit


def drawn(masks: dict[str, Tensor], draw: int) -> dict[str, Tensor]:
    """Where the random edit of these masks sets a weight of ones to zero, by site; all sites of ``masks``."""
    sites = tuple(Site(name, *mask.shape) for name, mask in masks.items())
    edit = method("random").fit(Masks(RandomEdit(draw=draw), sites, masks))
    changed = {site.name: edit.apply(site, torch.ones(site.outputs, site.neurons)) == 0 for site in edit.sites}
    return {name: changed.get(name, torch.zeros_like(mask)) for name, mask in masks.items()}


def test_as_many_entries_per_site_at_other_places() -> None:
    rng = torch.Generator().manual_seed(0)
    masks = {"a": torch.rand(16, 64, generator=rng) < 0.05, "b": torch.rand(8, 32, generator=rng) < 0.2}
    found = drawn(masks, 1)
    assert {site: int(mask.sum()) for site, mask in found.items()} == {s: int(m.sum()) for s, m in masks.items()}
    assert not torch.equal(found["b"], masks["b"])
    assert all(torch.equal(found[site], again) for site, again in drawn(masks, 1).items())
    assert not torch.equal(found["a"], drawn(masks, 2)["a"])


def test_the_order_of_sites_changes_nothing() -> None:
    masks = {"b": torch.eye(6, dtype=torch.bool), "a": torch.eye(5, dtype=torch.bool)}
    one, other = drawn(masks, 1), drawn(dict(reversed(masks.items())), 1)
    assert all(torch.equal(one[name], other[name]) for name in masks)


def test_places_are_uniform() -> None:
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[0] = True
    mask[1, :3] = True
    counts = torch.stack([drawn({"a": mask}, draw)["a"].float() for draw in range(600)]).mean(dim=0)
    assert (counts - 11 / 32).abs().max() < 0.09


def test_whole_columns_are_matched_by_whole_columns() -> None:
    mask = torch.zeros(5, 20, dtype=torch.bool)
    mask[:, [2, 7, 11]] = True
    found = drawn({"a": mask}, 3)["a"]
    assert int(found.sum()) == 15
    assert torch.equal(found, found[:1].expand(5, 20))


def test_an_empty_mask_stays_empty() -> None:
    assert not drawn({"a": torch.zeros(4, 6, dtype=torch.bool)}, 1)["a"].any()


def test_the_weight_that_was_given_is_left_as_it_is() -> None:
    site, weight = Site("a", 4, 6), torch.randn(4, 6)
    before = weight.clone()
    edit = method("random").fit(Masks(RandomEdit(), (site,), {"a": torch.ones(4, 6, dtype=torch.bool)}))
    assert not edit.apply(site, weight).any() and torch.equal(weight, before)
    assert edit.zeroed(site) == 24


def test_material_gives_only_what_was_declared() -> None:
    with pytest.raises(KeyError, match="second_moment"):
        Masks(None, (), {}).statistic("second_moment", "memorized", Site("a", 1, 1))
