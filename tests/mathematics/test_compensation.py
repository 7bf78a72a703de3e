"""What is given back is the minimum of what it says it minimises, and its ends are what is known of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from excise.mathematics.compensation import given_back, given_back_held
from excise.mathematics.directions import soft_filter

OUTPUTS, N, TOKENS = 5, 8, 60


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT, KEPT, MEMORIZED = drawn(0, OUTPUTS, N), drawn(1, TOKENS, N), drawn(2, TOKENS, N) @ drawn(3, N, N)
R, M = KEPT.T @ KEPT / TOKENS, MEMORIZED.T @ MEMORIZED / TOKENS
MASK = drawn(4, OUTPUTS, N) > 0.3
DROPPED = WEIGHT * MASK


def loss(back: Tensor, importance: float, ridge: float) -> Tensor:
    """As the module's equation says, from the inputs themselves."""
    kept = ((back - DROPPED) @ KEPT.T).square().sum() / TOKENS
    memorized = (back @ MEMORIZED.T).square().sum() / TOKENS
    return kept + importance * memorized + ridge * R.diagonal().mean() * back.square().sum()


@pytest.mark.parametrize(("importance", "ridge"), [(0.0, 0.1), (0.5, 1e-3), (20.0, 1.0)])
def test_it_is_where_the_loss_has_no_slope(importance: float, ridge: float) -> None:
    back = given_back(DROPPED, R, M, importance, ridge).requires_grad_()
    (slope,) = torch.autograd.grad(loss(back, importance, ridge), back)
    assert slope.abs().max() < 1e-9


@pytest.mark.parametrize("mask", [MASK, MASK[:1].expand(OUTPUTS, N)], ids=["entries", "columns"])
def test_held_it_has_no_slope_in_what_is_free_and_is_zero_in_the_rest(mask: Tensor) -> None:
    back = given_back_held(DROPPED, R, M, 0.5, 1e-3, mask).requires_grad_()
    (slope,) = torch.autograd.grad(loss(back, 0.5, 1e-3), back)
    assert slope[~mask].abs().max() < 1e-9 and not back[mask].any()
    assert loss(back, 0.5, 1e-3) < loss(torch.zeros_like(back), 0.5, 1e-3)
    assert loss(back, 0.5, 1e-3) > loss(given_back(DROPPED, R, M, 0.5, 1e-3), 0.5, 1e-3), "being held costs"


def test_a_row_held_as_a_whole_gets_nothing_back() -> None:
    whole = torch.ones(OUTPUTS, N, dtype=torch.bool)
    assert not given_back_held(DROPPED, R, M, 0.5, 1e-3, whole).any()


def test_memorized_prompts_without_weight_bring_everything_back_that_kept_ones_reach() -> None:
    assert torch.allclose(given_back(DROPPED, R, M, 0.0, 1e-12), DROPPED, atol=1e-8)
    flat = KEPT.clone()
    flat[:, -3:] = 0.0  # kept prompts never use the last three neurons
    back = given_back(DROPPED, flat.T @ flat / TOKENS, M, 0.0, 1e-9)
    assert torch.allclose(back @ flat.T, DROPPED @ flat.T, atol=1e-6)
    assert not back[:, -3:].any(), "what no prompt tells of is left as it was dropped"


def test_memorized_prompts_of_all_weight_get_the_dropped_weight() -> None:
    responses = [float((given_back(DROPPED, R, M, beta, 1e-6) @ MEMORIZED.T).norm()) for beta in (0.0, 1.0, 1e3, 1e9)]
    assert responses == sorted(responses, reverse=True) and responses[-1] < 1e-6 * responses[0]


def test_without_a_ridge_it_is_the_soft_filter_of_what_was_dropped() -> None:
    expected = DROPPED @ soft_filter(M, R, 2.0)
    assert torch.allclose(given_back(DROPPED, R, M, 2.0, 0.0), expected, atol=1e-8)


def test_held_columns_without_memorized_prompts_are_least_squares_on_the_rest() -> None:
    """Solved from the inputs: the outputs of all columns, regressed on those that are left."""
    held = torch.zeros(OUTPUTS, N, dtype=torch.bool)
    held[:, [1, 4]] = True
    left = [column for column in range(N) if not held[0, column]]
    back = given_back_held(WEIGHT * held, R, M, 0.0, 0.0, held)
    regressed = torch.linalg.lstsq(KEPT[:, left], KEPT @ WEIGHT.T).solution.T
    assert torch.allclose((WEIGHT * ~held + back)[:, left], regressed, atol=1e-9)


def test_a_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(ValueError, match="not positive definite"):
        given_back(DROPPED, -R, M, 0.0, 1e-3)
