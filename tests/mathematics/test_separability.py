from __future__ import annotations

from statistics import NormalDist

import pytest
import torch

from excise.mathematics.separability import area_under_curve, auc_interval, cross_validated_auc, fit_logistic


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


def test_the_interval_of_the_area_covers_the_true_one() -> None:
    """Two normal classes a standard deviation apart: the area is Φ(1/√2)."""
    generator, true = torch.Generator().manual_seed(0), NormalDist().cdf(0.5**0.5)
    positive, covered = torch.arange(60) < 30, 0
    for _ in range(100):
        found = auc_interval(torch.randn(60, generator=generator) + positive, positive, [str(i) for i in range(60)])
        covered += found.low <= true <= found.high
    assert 90 <= covered <= 100


def test_the_interval_has_a_width_where_every_pair_is_in_order_and_is_wider_for_fewer_images() -> None:
    scores, positive = torch.arange(40.0), torch.arange(40) >= 20
    each = auc_interval(scores, positive, [str(i) for i in range(40)])
    few = auc_interval(scores, positive, [str(i // 4) for i in range(40)])
    assert each.value == few.value == each.high == 1.0
    assert 0.5 < few.low < each.low < 1.0
    turned = auc_interval(-scores, positive, [str(i) for i in range(40)])
    assert turned.value == turned.low == 0.0 and turned.high == pytest.approx(1.0 - each.low)


def test_the_interval_is_of_the_area_by_hand_where_scores_are_tied() -> None:
    positive = torch.tensor([True, True, False, False])
    assert auc_interval(torch.zeros(4), positive, list("abcd")).value == 0.5
    assert auc_interval(torch.tensor([3.0, 1.0, 2.0, 0.0]), positive, list("abab")).value == 0.75
