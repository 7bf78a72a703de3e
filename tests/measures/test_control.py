import torch

from excise.edits.random import random_edit


def test_as_many_entries_per_site_at_other_places():
    rng = torch.Generator().manual_seed(0)
    masks = {"a": torch.rand(16, 64, generator=rng) < 0.05, "b": torch.rand(8, 32, generator=rng) < 0.2}
    found = random_edit(masks, 1)
    assert {site: int(mask.sum()) for site, mask in found.items()} == {s: int(m.sum()) for s, m in masks.items()}
    assert not torch.equal(found["b"], masks["b"])
    assert all(torch.equal(found[site], again) for site, again in random_edit(masks, 1).items())
    assert not torch.equal(found["a"], random_edit(masks, 2)["a"])


def test_places_are_uniform():
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[0] = True
    mask[1, :3] = True
    counts = sum(random_edit({"a": mask}, draw)["a"].float() for draw in range(600))
    assert isinstance(counts, torch.Tensor)
    assert (counts / 600 - 11 / 32).abs().max() < 0.09


def test_whole_columns_are_matched_by_whole_columns():
    mask = torch.zeros(5, 20, dtype=torch.bool)
    mask[:, [2, 7, 11]] = True
    found = random_edit({"a": mask}, 3)["a"]
    assert int(found.sum()) == 15
    assert torch.equal(found, found[:1].expand(5, 20))


def test_an_empty_mask_stays_empty():
    assert not random_edit({"a": torch.zeros(4, 6, dtype=torch.bool)}, 1)["a"].any()
