"""Filling the gaps of a matrix: known entries stay, and what a matrix of low rank held comes back."""

from __future__ import annotations

import pytest
import torch

from excise.mathematics.completion import low_rank, neighbours, row_means

WEIGHT = torch.tensor([[1.0, 0.0, 0.0, 4.0], [0.0, 2.0, 6.0, 0.0], [0.0, 0.0, 0.0, 0.0]])


def test_a_gap_is_the_mean_of_its_row() -> None:
    expected = torch.tensor([[1.0, 2.5, 2.5, 4.0], [4.0, 2.0, 6.0, 4.0], [0.0] * 4])
    assert torch.equal(row_means(WEIGHT, WEIGHT != 0), expected)


def test_a_gap_is_the_mean_of_the_nearest_on_both_sides() -> None:
    assert torch.equal(
        neighbours(WEIGHT, WEIGHT != 0), torch.tensor([[1.0, 2.5, 2.5, 4.0], [2.0, 2.0, 6.0, 6.0], [0.0] * 4])
    )
    row = torch.tensor([[0.0, 3.0, 0.0, 5.0, 0.0, 0.0, 9.0]])
    assert torch.equal(neighbours(row, row != 0), torch.tensor([[3.0, 3.0, 4.0, 5.0, 7.0, 7.0, 9.0]]))


@pytest.mark.parametrize("shape", [(30, 40), (40, 30)])
def test_what_a_matrix_of_low_rank_held_comes_back(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(shape[0], 3, generator=generator), torch.randn(3, shape[1], generator=generator)
    whole, known = left @ right, torch.rand(shape, generator=generator) > 0.3
    importance = 0.5 + torch.rand(shape[1], generator=generator)
    filled = low_rank(torch.where(known, whole, 0.0), known, importance, rank=3, rounds=200)
    assert torch.equal(filled[known], whole[known])
    assert (filled - whole).norm() < 0.01 * whole[~known].norm()


def test_more_weight_is_more_say() -> None:
    """Of two neurons that say otherwise of a gap, the one that fires more is followed."""
    weight = torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, -2.0]])
    known = weight != 0
    second, third = (low_rank(weight, known, torch.tensor(a), 1, 500)[1, 0] for a in ([1.0, 9, 1], [1.0, 1, 9]))
    assert second > 1.0 and third < -1.0


def test_a_silent_neuron_breaks_nothing() -> None:
    filled = low_rank(WEIGHT, WEIGHT != 0, torch.tensor([0.0, 1.0, 1.0, 1.0]), rank=1, rounds=5)
    assert filled.isfinite().all() and torch.equal(filled[WEIGHT != 0], WEIGHT[WEIGHT != 0])
