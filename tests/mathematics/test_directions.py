from __future__ import annotations

import pytest
import torch
from torch import Tensor

from excise.mathematics.directions import blurred, deletion_costs, directions, ridged, soft_filter

N, K = 12, 3


def moment(seed: int, tokens: int = 60) -> Tensor:
    inputs = torch.randn(tokens, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return inputs.T @ inputs / tokens


M, R = moment(1), moment(2)
FOUND = directions(M, R)
W = torch.randn(5, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_they_are_generalised_eigenvectors_the_largest_first() -> None:
    assert torch.allclose(M @ FOUND.readouts, R @ FOUND.readouts * FOUND.values)
    assert torch.allclose(FOUND.readouts.T @ R @ FOUND.readouts, torch.eye(N, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(FOUND.readouts.T @ FOUND.patterns, torch.eye(N, dtype=torch.float64), atol=1e-9)
    assert bool((FOUND.values.diff() <= 0).all())


@pytest.mark.parametrize("exponent", [0.0, 0.4, 1.0])
def test_a_deletion_is_a_projection_that_leaves_nothing_of_its_coordinates(exponent: float) -> None:
    found = directions(M, blurred(R, exponent)).first(K)
    projection = torch.eye(N, dtype=torch.float64) - found.patterns @ found.readouts.T
    assert torch.allclose(projection @ projection, projection, atol=1e-9)
    assert torch.linalg.matrix_rank(projection, atol=1e-8) == N - K
    assert torch.allclose(found.readouts.T @ projection, torch.zeros(K, N, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(projection, projection.T, atol=1e-9) == (exponent == 0.0)


def test_a_blurred_matrix_keeps_its_scale() -> None:
    assert blurred(R, 0.3).trace() == pytest.approx(float(R.trace()))
    assert torch.allclose(blurred(R, 0.0), R.trace() / N * torch.eye(N, dtype=torch.float64), atol=1e-9)
    square = blurred(R, 0.5) @ blurred(R, 0.5)
    assert torch.allclose(square / square.trace(), R / R.trace(), atol=1e-9) and blurred(R, 1.0) is R


def edited_weight() -> Tensor:
    found = FOUND.first(K)
    return W - (W @ found.patterns) @ found.readouts.T


def retain_cost(edited: Tensor) -> float:
    return float(torch.einsum("on,nm,om->", edited - W, R, edited - W))


def test_oblique_deletion_changes_kept_responses_least_of_all_that_delete_the_same_patterns() -> None:
    edited, patterns = edited_weight(), FOUND.patterns[:, :K]
    assert torch.allclose(edited @ patterns, torch.zeros(5, K, dtype=torch.float64), atol=1e-9)
    rng = torch.Generator().manual_seed(4)
    for _ in range(20):  # anything else that leaves nothing of the patterns
        free = torch.randn(5, N, generator=rng, dtype=torch.float64)
        other = edited + 0.1 * (free - (free @ patterns) @ torch.linalg.pinv(patterns))
        assert torch.allclose(other @ patterns, torch.zeros(5, K, dtype=torch.float64), atol=1e-9)
        assert retain_cost(other) > retain_cost(edited)


@pytest.mark.parametrize(("exponent", "ridge"), [(1.0, 1e-9), (1.0, 0.1), (0.0, 1e-3)])
def test_costs_are_what_kept_responses_change_by(exponent: float, ridge: float) -> None:
    found = directions(M, blurred(ridged(R, ridge), exponent))
    costs = deletion_costs(found, W, R)
    for count in (1, K, N):
        part = found.first(count)
        assert float(costs[count - 1]) == pytest.approx(retain_cost(W - (W @ part.patterns) @ part.readouts.T))


def test_what_is_orthogonal_in_the_kept_metric_is_not_touched() -> None:
    others = FOUND.patterns[:, K:]
    assert torch.allclose(edited_weight() @ others, W @ others, atol=1e-9)


def test_a_soft_filter_is_ridge_regression_onto_kept_responses() -> None:
    for strength in (0.0, 0.3, 10.0):
        wanted = R @ torch.linalg.inv(R + strength * M)
        shares = 1.0 / (1.0 + strength * FOUND.values)
        assert torch.allclose(soft_filter(M, R, strength), wanted, atol=1e-8)
        assert torch.allclose((FOUND.patterns * shares) @ FOUND.readouts.T, wanted, atol=1e-8)


def test_a_small_ridge_changes_little_and_makes_a_singular_matrix_regular() -> None:
    assert torch.allclose(directions(M, ridged(R, 1e-9)).values, FOUND.values, rtol=1e-5)
    flat = R.clone()
    flat[0], flat[:, 0] = 0.0, 0.0
    with pytest.raises(ValueError, match="not positive definite"):
        directions(M, flat)
    with pytest.raises(ValueError, match="not positive definite"):
        soft_filter(M, flat, 1.0)
    assert directions(M, ridged(flat, 1e-3)).values.isfinite().all()
