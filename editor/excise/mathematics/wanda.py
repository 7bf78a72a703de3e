"""The published way of locating: Wanda scores, contrasted (Chavhan et al. 2024, 2406.18566).

Symbols: ``W2`` the weight of a site ``(outputs, neurons)``; ``a`` the column norm of its input ``(neurons,)``;
k the sparsity; r the vote.
"""

from __future__ import annotations

import torch
from torch import Tensor


def wanda_score(weight: Tensor, norm: Tensor) -> Tensor:
    """``S[j, i] = |W2[j, i]| a[i]`` (Sun et al. 2023, 2306.11695): ``(outputs, neurons)`` float64."""
    return weight.double().abs() * norm.double()


def row_top(score: Tensor, sparsity: float) -> Tensor:
    """The ``int(k * neurons)`` highest scores of each row: boolean, shaped as ``score`` ``(outputs, neurons)``."""
    picks = score.topk(int(sparsity * score.shape[1]), dim=1).indices
    return torch.zeros_like(score, dtype=torch.bool).scatter_(1, picks, True)


def exceeds(norm: Tensor, contrast: Tensor, margin: float = 1.0) -> Tensor:
    """``a > margin * a_contrast``, strictly: boolean ``(neurons,)``.

    The published condition is on scores, ``S > S_contrast``; |W2| is on both sides, so a whole column passes or
    fails (a weight of exactly 0 apart, which no edit can change).
    """
    return norm > margin * contrast


def select_entries(weight: Tensor, norm: Tensor, passing: Tensor, sparsity: float) -> Tensor:
    """Entries at one call, as published: top k of their row in the memorized score AND their column passes.

    Args:
        weight: ``(outputs, neurons)``.
        norm: ``(neurons,)`` of the memorized set.
        passing: boolean ``(neurons,)``: `exceeds`, and significance where it is asked for.
        sparsity: k.

    Returns:
        Boolean ``(outputs, neurons)``.
    """
    return row_top(wanda_score(weight, norm), sparsity) & passing


def contrast_ratio(norm: Tensor, contrast: Tensor) -> Tensor:
    """``a / a_contrast``, elementwise; a neuron silent in both sets counts as 1, one silent in the contrast as inf."""
    return torch.where((norm == 0) & (contrast == 0), 1.0, norm / contrast)


def select_columns(ratio: Tensor, passing: Tensor, sparsity: float) -> Tensor:
    """Neurons at one call: the ``int(k * neurons)`` highest ratios ``a / a_contrast`` among those that pass.

    The ratio, because |W2| is the same for both sets: every entry of a column has one contrast,
    ``S / S_contrast = a / a_contrast``. Ranking columns by ``a`` itself would take the neurons that are busy
    whatever the prompt.

    Returns:
        Boolean ``(neurons,)``.
    """
    picks = ratio.masked_fill(~passing, -1.0).topk(int(sparsity * len(ratio))).indices
    return torch.zeros_like(passing).index_fill_(0, picks, True) & passing


def vote(selections: Tensor, share: float) -> Tensor:
    """What more than ``r * calls`` of the calls select; r = 0 is the union.

    Args:
        selections: boolean ``(calls, ...)``.

    Returns:
        Boolean ``(...)``.
    """
    return selections.sum(dim=0) > share * len(selections)
