"""How much a prompt pulls the denoiser, and how rare that is among ordinary prompts: scores, p-values, discoveries."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]


def magnitude(conditional: Tensor, unconditional: Tensor) -> Tensor:
    """Length of what the text adds to a prediction, ``|e_c - e_0|`` (Wen et al. 2024, arXiv 2407.21720).

    Args:
        conditional: what the denoiser predicts with the text, ``(rows, ...)``.
        unconditional: and without it.

    Returns:
        float32 or better ``(rows,)``: one length for each row, over all of its numbers.
    """
    dtype = torch.promote_types(conditional.dtype, torch.float32)
    lengths: Tensor = (conditional.to(dtype) - unconditional.to(dtype)).flatten(1).norm(dim=1)
    return lengths


def detail(conditional: Tensor, unconditional: Tensor) -> Tensor:
    """Length of what of that difference is not the same everywhere: ``|d - mean of d over the picture|``.

    Where latents are noise, the difference is the mean picture of a text, and one colour all over is as long a vector
    as a photograph. The mean of each channel, which says no more than that colour, is therefore left out.

    Args:
        conditional: what the denoiser predicts with the text, ``(rows, channels, height, width)``, or ``(rows, places,
            channels)``.
        unconditional: and without it.

    Returns:
        float32 or better ``(rows,)``.
    """
    dtype = torch.promote_types(conditional.dtype, torch.float32)
    gap = conditional.to(dtype) - unconditional.to(dtype)
    lengths: Tensor = (gap - gap.mean(dim=places(gap), keepdim=True)).flatten(1).norm(dim=1)
    return lengths


def places(prediction: Tensor) -> tuple[int, ...]:
    """The axes of a prediction along which lie the places of the picture; the other one is its channels'.

    Args:
        prediction: ``(rows, channels, height, width)``, or ``(rows, places, channels)``.
    """
    return (2, 3) if prediction.ndim == 4 else (1,)


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022): ``e_0 + scale (e_c - e_0)``, in float32 or better."""
    dtype = torch.promote_types(conditional.dtype, torch.float32)
    without = unconditional.to(dtype)
    return without + scale * (conditional.to(dtype) - without)


def one_step(change: Tensor) -> Tensor:
    """How far one step to the end moves a latent: the mean of ``(z_T - z_1)^2`` (Webster 2023, arXiv 2305.08694).

    Where a model predicts noise, the change is that noise times the first noise level, the same for every prompt, and
    is taken without it. Where one predicts the image or the velocity, latents are scaled as the denoiser sees them:
    Webster's scale, by the noise level, is infinite where training reached pure noise.

    Args:
        change: what the guided model takes off the latents, ``(rows, ...)``.

    Returns:
        ``(rows,)``.
    """
    return change.flatten(1).square().mean(dim=1)


def exceedances(scores: Numbers, null: Numbers) -> Counts:
    """How many numbers of a null are at least as large as each score: ``(scores,)``.

    Args:
        scores: of what is asked about.
        null: sorted, of what is known to be ordinary.
    """
    found: Counts = (null.size - np.searchsorted(null, scores, side="left")).astype(np.int64)
    return found


def p_values(exceeding: Counts, null: int) -> Numbers:
    """``(1 + how many of the null are as large) / (1 + null)``: exact where a score is exchangeable with them."""
    return np.asarray((1.0 + exceeding) / (1.0 + null), dtype=np.float64)


def least_null(rate: float) -> int:
    """How many numbers a null has at least if a p-value is to be as small as a rate: 19 at 5 %."""
    least = max(1, int(1.0 / rate) - 2)
    while 1.0 / (1.0 + least) > rate:
        least += 1
    return least


def discovery_rates(counts: Counts) -> Numbers:
    """Adjusted p-values of Benjamini & Hochberg (1995) of many scores, from how often each p-value occurs.

    Scores that a null of n is held against have one of n + 1 p-values, so that a table of any length needs no more
    memory than the null: what is adjusted is the p-value, once for all scores that share it.

    Args:
        counts: for each number of exceedances, 0 to n, how many scores have it: ``(n + 1,)``.

    Returns:
        ``(n + 1,)``, rising: a score is a discovery at a rate if the entry of its exceedances is at most that rate.
    """
    p = p_values(np.arange(counts.size), counts.size - 1)
    before = np.cumsum(counts)
    with np.errstate(divide="ignore"):
        ratio = np.where(before > 0, p * before[-1] / before, np.inf)
    found: Numbers = np.minimum(1.0, np.minimum.accumulate(ratio[::-1])[::-1])
    return found


def highest_allowed(negative: Any, false: float = 0.01) -> float:
    """The number of the negative of which at most a share of ``false`` are above it."""
    below = np.sort(np.asarray(negative, dtype=np.float64))
    return float(below[below.size - 1 - int(false * below.size)])


def true_positive_rate(positive: Any, negative: Any, false: float = 0.01) -> float:
    """Share of the positive at least as large as the smallest threshold that at most ``false`` of the negative reach.

    The threshold lies just above a number of the negative, so that the rate asked for is never exceeded.
    """
    return float(np.mean(np.asarray(positive, dtype=np.float64) > highest_allowed(negative, false)))
