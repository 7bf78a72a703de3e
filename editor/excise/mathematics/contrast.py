"""How a set of prompts differs from what it is contrasted with, neuron by neuron, at one site."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from excise.mathematics.column_energy import ColumnEnergy, column_norm, mean_and_variance
from excise.mathematics.significance import welch
from excise.mathematics.wanda import contrast_ratio


@dataclass(frozen=True)
class Scores:
    """Float64 ``(calls, neurons)`` each."""

    norm: Tensor
    """Root mean square of the token-normalised activations."""
    ratio: Tensor
    """Norm over the contrast's norm."""
    p: Tensor | None
    """One-sided Welch test over prompts that the mean energy is higher than the contrast's; None for a set of one
    prompt, which cannot be tested."""
    contrast: Tensor
    """The contrast's norm."""


def scores_of(target: ColumnEnergy, contrast: ColumnEnergy) -> Scores:
    """The scores of one set of prompts."""
    norm, beside = column_norm(target), column_norm(contrast)
    p = None
    if target.prompts > 1:
        mean, variance = zip(mean_and_variance(target), mean_and_variance(contrast), strict=True)
        p = welch(mean, variance, (int(target.prompts), int(contrast.prompts)))
    return Scores(norm, contrast_ratio(norm, beside), p, beside)
