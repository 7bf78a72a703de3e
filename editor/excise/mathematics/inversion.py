"""Distributions of what a model is given: tokens relaxed to mixtures, and noise that is not quite the usual."""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel(uniform: Tensor) -> Tensor:
    """g = -log(-log u): with it argmax(l + g) is a draw from softmax(l) (Gumbel 1954).

    Args:
        uniform: u, in [0, 1).
    """
    return -(-uniform.log()).log()


def gumbel_softmax(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """softmax((l + g) / T) over the last dimension: a draw that can be differentiated, nearer to a choice the smaller T
    (Jang et al. 2017, arXiv 1611.01144, eq. 2).

    Args:
        logits: l, ``(..., choices)``.
        uniform: in [0, 1), of the same shape.
        temperature: T, above 0.
    """
    return torch.softmax((logits + gumbel(uniform)) / temperature, dim=-1)


def chosen(logits: Tensor, uniform: Tensor) -> Tensor:
    """A draw from softmax(l): what `gumbel_softmax` of the same numbers comes to as T falls to 0, one-hot."""
    places = (logits + gumbel(uniform)).argmax(dim=-1, keepdim=True)
    return torch.zeros_like(logits).scatter_(-1, places, 1.0)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - log s^2 - 1) / 2, the mean over all numbers of a row: ``(rows,)``.

    Args:
        mean: m, ``(rows, ...)``.
        log_variance: log s^2, the same.
    """
    each = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0)
    return each.flatten(1).mean(dim=1)
