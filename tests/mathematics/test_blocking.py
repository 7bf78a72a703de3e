"""What a model needs for a picture is found, wherever blocking more never leaves more."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from excise.mathematics.blocking import enough, needed

LAYERS = (5, 7, 4)
OUTPUTS = sum(LAYERS)


def of(*outputs: int) -> Tensor:
    blocked = torch.zeros(OUTPUTS, dtype=torch.bool)
    blocked[list(outputs)] = True
    return blocked


@given(st.lists(st.sets(st.integers(0, OUTPUTS - 1), min_size=1, max_size=3), min_size=1, max_size=4))
def test_nothing_that_is_returned_can_be_given_back(ways: list[set[int]]) -> None:
    """The picture is drawn in several ways, and is gone when each misses an output."""

    def memory(blocked: Tensor) -> float:
        return sum(not bool(blocked[list(way)].any()) for way in ways) / len(ways)

    found = needed(torch.ones(OUTPUTS, dtype=torch.bool), LAYERS, 0.0, memory)
    assert memory(found) == 0.0
    for output in found.nonzero().flatten().tolist():
        assert memory(found & ~of(output)) > 0.0


def test_what_no_block_takes_away_is_found_as_far_as_it_can_be() -> None:
    def memory(blocked: Tensor) -> float:
        return 1.0 - 0.3 * float(blocked[3])

    active = torch.arange(OUTPUTS).float()
    blocked, left = enough(active, torch.ones(OUTPUTS), LAYERS, (2.0, 0.5), 0.5, memory)
    assert left == 0.7 and blocked.all()
    assert torch.equal(needed(blocked, LAYERS, left, memory), of(3))


def test_sets_grow_by_what_is_unusual_and_by_the_most_active_of_each_layer() -> None:
    tried: list[Tensor] = []

    def memory(blocked: Tensor) -> float:
        tried.append(blocked)
        return 0.0 if len(tried) == 3 else 1.0

    unusual = torch.tensor([0.0, 3.0, 1.5, *[0.0] * (OUTPUTS - 3)])
    active = torch.tensor([9.0, 0, 0, 0, 8, *[0.0] * 5, 6, 7, *[0.0] * 2, 4, 5])
    blocked, left = enough(active, unusual, LAYERS, (2.0, 1.0, 0.5, 0.1), 0.2, memory)
    expected = [of(1), of(1, 2, 0, 11, 15), of(1, 2, 0, 4, 11, 10, 15, 14)]
    assert [found.tolist() for found in tried] == [each.tolist() for each in expected]
    assert torch.equal(blocked, expected[-1]) and left == 0.2
