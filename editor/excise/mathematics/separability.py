"""Can two sets be told apart? Cross-validated logistic regression, and the area under its ROC curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from excise.mathematics.intervals import CONFIDENCE, DRAWS, Estimate, normal_quantile

_EDGE = 1e-9
"""Both ends are roots of a score interval that is no end of it."""


def fit_logistic(features: Tensor, positive: Tensor, penalty: float) -> Tensor:
    """Coefficients of logistic regression with a quadratic penalty, the two classes weighted alike.

    Minimises, by L-BFGS, the mean over classes of their mean log loss, plus ``penalty / 2 * |w|^2`` less the intercept.

    Args:
        features: float64 ``(cases, features)``.
        positive: bool ``(cases,)``, with cases of both classes.
        penalty: above 0.

    Returns:
        float64 ``(features + 1,)``; the last is the intercept.
    """
    weights = torch.zeros(features.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    target = positive.double()
    balance = torch.where(positive, 0.5 / target.sum(), 0.5 / (1 - target).sum())
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=300, tolerance_grad=1e-8, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        scores = features @ weights[:-1] + weights[-1]
        fit = binary_cross_entropy_with_logits(scores, target, weight=balance, reduction="sum")
        loss = fit + 0.5 * penalty * weights[:-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


def area_under_curve(scores: Tensor, positive: Tensor) -> float:
    """Share of (positive, negative) pairs that the score puts in the right order, ties counted half: 0.5 tells nothing.

    Args:
        scores: float ``(cases,)``.
        positive: bool ``(cases,)``.
    """
    above, below = scores[positive].numpy(), scores[~positive].numpy()
    return float(mannwhitneyu(above, below).statistic / (len(above) * len(below)))


def auc_interval(scores: Tensor, positive: Tensor, clusters: Sequence[str]) -> Estimate:
    """`area_under_curve` with its 95 % interval, whose unit is the cluster: the wider of two at each end.

    A percentile bootstrap over clusters, which keeps together what a positive case shares with negative ones of its
    cluster; and the score interval of Newcombe (2006, "Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic", method 5), which has a width where every pair is in the right order.

    Args:
        scores: float ``(cases,)``.
        positive: bool ``(cases,)``, with cases of both classes.
        clusters: of each case.
    """
    places = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    member = np.zeros((len(places), len(clusters)))
    member[[places[name] for name in clusters], range(len(clusters))] = 1.0
    right, values = positive.numpy(), scores.double().numpy()
    above, below = member[:, right], member[:, ~right]  # (clusters, cases of a class)
    gap = values[right][:, None] - values[~right][None, :]
    won = above @ (0.5 + 0.5 * np.sign(gap)) @ below.T  # (clusters, clusters): pairs in the right order
    draws = np.random.default_rng(0).multinomial(len(places), np.full(len(places), 1.0 / len(places)), size=DRAWS)
    pairs = (draws @ above.sum(axis=1)) * (draws @ below.sum(axis=1))
    drawn = ((draws @ won) * draws).sum(axis=1)[pairs > 0] / pairs[pairs > 0]
    area, tail = float(won.sum() / gap.size), 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(drawn, [tail, 100.0 - tail])
    least, most = _score_interval(area, int((above.sum(axis=1) > 0).sum()), int((below.sum(axis=1) > 0).sum()))
    return Estimate(area, min(float(low), least), max(float(high), most))


def _score_interval(area: float, positive: int, negative: int) -> tuple[float, float]:
    """Newcombe's: areas whose own standard error, after Hanley & McNeil, does not rule out the one that was seen."""
    size = 0.5 * (positive + negative) - 1.0

    def excess(true: float) -> float:
        spread = 1.0 + size * ((1.0 - true) / (2.0 - true) + true / (1.0 + true))
        return (true - area) ** 2 - normal_quantile() ** 2 * true * (1.0 - true) * spread / (positive * negative)

    low = 0.0 if area == 0.0 else float(brentq(excess, 0.0, min(area, 1.0 - _EDGE)))
    high = 1.0 if area == 1.0 else float(brentq(excess, max(area, _EDGE), 1.0))
    return low, high


def cross_validated_auc(
    features: Tensor, positive: Tensor, groups: Sequence[str], folds: int = 6, penalty: float = 1e-2
) -> float:
    """Area under the ROC curve of scores that each case gets from a regression that has not seen its group.

    Features are standardised by the training cases of each fold.

    Args:
        features: float ``(cases, features)``.
        positive: bool ``(cases,)``.
        groups: of each case; cases of one group are in one fold.
        folds: at most as many as there are groups.
        penalty: as in `fit_logistic`.

    Raises:
        ValueError: a fold leaves no positive or no negative case to learn from.
    """
    order = {group: i % folds for i, group in enumerate(dict.fromkeys(groups))}
    fold = torch.tensor([order[group] for group in groups])
    cases, scores = features.double(), torch.zeros(len(groups), dtype=torch.float64)
    for number in range(folds):
        held = fold == number
        known = positive[~held]
        if known.all() or not known.any():
            raise ValueError(f"fold {number} leaves cases of one class alone; give more groups or fewer folds")
        mean, deviation = cases[~held].mean(dim=0), cases[~held].std(dim=0).clamp_min(1e-9)
        weights = fit_logistic((cases[~held] - mean) / deviation, known, penalty)
        scores[held] = (cases[held] - mean) / deviation @ weights[:-1] + weights[-1]
    return area_under_curve(scores, positive)
