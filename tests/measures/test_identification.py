from __future__ import annotations

import pytest
import torch
from torch import Tensor

from excise.measures.identification import COMPARED, identified, likeness, rivals_of
from excise.measures.replication import Rule, Target

RULE = Rule(0.2, None, 4)


def noise(seed: int) -> Tensor:
    return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_likeness_is_one_for_equal_images_and_falls_with_distance() -> None:
    target, other = noise(0), noise(1)
    images = torch.stack([target, 0.8 * target + 0.2 * other, other])
    found = likeness(images, Target(target, None), RULE)
    assert found[0] == 1.0 and 1.0 > found[1] > 0.3 > found[2]


def test_a_ghost_that_no_threshold_sees_is_identified() -> None:
    """A faint trace of the training image in another picture: far by the rule, and still nearest to its own."""
    own, rivals = Target(noise(0), None), [Target(noise(seed), None) for seed in range(1, 12)]
    ghosts = torch.stack([0.25 * own.image + 0.75 * noise(seed) for seed in range(20, 28)])
    assert not RULE.replicated(ghosts, own).any()
    assert identified(ghosts, own, rivals, RULE).float().mean() >= 0.75
    strangers = torch.stack([noise(seed) for seed in range(40, 64)])
    assert identified(strangers, own, rivals, RULE).float().mean() <= 0.25


def test_a_tie_counts_as_identified() -> None:
    target = Target(noise(3), None)
    assert identified(noise(4)[None], target, [target, target], RULE).tolist() == [True]


def test_without_a_rival_nothing_is_told() -> None:
    with pytest.raises(ValueError, match="no other training image"):
        identified(noise(4)[None], Target(noise(3), None), [], RULE)


def test_rivals_are_the_next_of_other_clusters() -> None:
    assert rivals_of(0, ["a", "a", "b", "c"]) == [2, 3]
    assert rivals_of(3, ["a", "a", "b", "c"]) == [0, 1, 2]
    assert rivals_of(0, ["a"]) == [] and rivals_of(1, ["a", "a"]) == []
    many = [str(i) for i in range(100)]
    assert rivals_of(90, many) == [*range(91, 100), *range(22)] and len(rivals_of(0, many)) == COMPARED - 1
