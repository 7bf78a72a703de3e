from __future__ import annotations

import pytest
import torch

from excise.mathematics.separability import area_under_curve, cross_validated_auc, fit_logistic


def made(shift: float, cases: int = 240, features: int = 30) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Two classes that differ by a shift in the first feature; two cases of each class in a group."""
    generator = torch.Generator().manual_seed(0)
    positive = torch.arange(cases) % 2 == 0
    values = torch.randn(cases, features, generator=generator)
    values[:, 0] += shift * positive
    return values, positive, [f"group {i // 4}" for i in range(cases)]


def test_what_does_not_differ_is_not_told_apart_however_many_features_there_are() -> None:
    values, positive, groups = made(0.0, features=500)
    assert abs(cross_validated_auc(values, positive, groups) - 0.5) < 0.1


def test_what_differs_is_told_apart() -> None:
    values, positive, groups = made(4.0)
    assert cross_validated_auc(values, positive, groups) > 0.97


def test_a_mark_of_the_group_alone_tells_nothing() -> None:
    """Each group has a mark of its own, the same for both classes."""
    values, positive, groups = made(0.0)
    marks = torch.eye(60).repeat_interleave(4, dim=0) * 5
    assert abs(cross_validated_auc(torch.cat([values, marks], dim=1), positive, groups) - 0.5) < 0.1


def test_the_gradient_is_zero_at_the_fit() -> None:
    values, positive, _ = made(1.0, cases=40, features=3)
    penalty = 0.1
    weights = fit_logistic(values.double(), positive, penalty)
    target = positive.double()
    residual = torch.sigmoid(values.double() @ weights[:-1] + weights[-1]) - target
    balance = torch.where(positive, 0.5 / target.sum(), 0.5 / (1 - target).sum())
    gradient = values.double().T @ (residual * balance) + penalty * weights[:-1]
    assert gradient.abs().max() < 1e-6 and abs(float((residual * balance).sum())) < 1e-6


def test_the_area_by_hand() -> None:
    positive = torch.tensor([True, True, False, False])
    assert area_under_curve(torch.tensor([3.0, 1.0, 2.0, 0.0]), positive) == 0.75
    assert area_under_curve(torch.zeros(4), positive) == 0.5


def test_too_few_groups_are_refused() -> None:
    values, positive, _ = made(1.0, cases=8, features=2)
    with pytest.raises(ValueError, match="one class alone"):
        cross_validated_auc(values, positive, ["a" if right else "b" for right in positive], folds=2)
