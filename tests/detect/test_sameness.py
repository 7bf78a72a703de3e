"""Pictures of different seeds that are one picture."""

from __future__ import annotations

import torch

from excise.detect.sameness import sameness
from excise.measures.replication import Rule


def test_the_largest_clique_and_its_centre() -> None:
    own = torch.Generator().manual_seed(0)
    picture, other = torch.rand(2, 3, 32, 32, generator=own)
    images = torch.rand(8, 3, 32, 32, generator=own)
    for place, offset in ((1, -0.02), (4, 0.0), (6, 0.02)):
        images[place] = picture + offset
    images[0] = other
    images[7] = other + 0.01
    found = sameness(images, Rule(0.05, None, 4))
    assert found.members == (1, 4, 6) and found.centre == 4 and found.size == 3


def test_a_chain_is_no_clique() -> None:
    """Each is near the next, the ends are not near each other: two of a chain of three are a clique, not three."""
    images = torch.stack([torch.full((3, 16, 16), value) for value in (0.0, 0.1, 0.25)])
    assert sameness(images, Rule(0.16, None, 4)).members == (0, 1), "the tighter of two pairs"
    assert sameness(images, Rule(0.26, None, 4)).members == (0, 1, 2)


def test_pictures_that_share_nothing_are_alone() -> None:
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert sameness(images, Rule(0.05, None, 4)).size == 1


def test_structural_similarity_is_asked_for_where_the_rule_does() -> None:
    """Flat pictures of one colour with other noise are near each other, and are not one picture."""
    images = 0.5 + 0.06 * torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    assert sameness(images, Rule(0.15, None, 4)).size == 4
    assert sameness(images, Rule(0.15, 0.5, 4)).size == 1
