"""Exact permutation tests whose unit is the training image, and the rank of one image among others.

All are one-sided: is the first larger? Values are whole numbers (seeds that replicate), so that every arrangement is
counted and none is drawn: no seed, no approximation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Distribution = NDArray[np.float64]


def paired(first: Sequence[int], second: Sequence[int], slack: int = 0) -> float:
    """P-value of Fisher's randomisation test of paired differences (1935): are the first larger?

    If nothing told the two models apart, each image's difference could as well have the other sign: all 2^n
    arrangements are counted, by convolution.

    Args:
        first: of each image (or template) with one model.
        second: with the other.
        slack: by how much a sum may be less for having been rounded: where each value is rounded to a whole number,
            twice as many as there are images. The p-value is then never too small.

    Returns:
        The share of arrangements whose sum is at least the one seen; 1 where nothing differs.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    reach = sum(map(abs, differences))
    shares = np.zeros(2 * reach + 1)
    shares[reach] = 1.0
    for size in map(abs, differences):
        shares = 0.5 * (_moved(shares, size) + _moved(shares, -size))
    return _tail(shares, reach + sum(differences) - slack)


def unpaired(first: Sequence[int], second: Sequence[int], slack: int = 0) -> float:
    """P-value of the permutation test of two groups (Pitman 1937): has the first the larger mean?

    If nothing told the groups apart, any ``len(first)`` of all images could be the first: all choices are counted.

    Args:
        first: of each image of one group.
        second: of each of the other.
        slack: as of `paired`; where values are rounded, as many as the first has.

    Returns:
        The share of choices whose sum is at least the one seen; 1 without a second group.
    """
    values = [*first, *second]
    low = min(values, default=0)
    moved = [value - low for value in values]
    shares = np.zeros((len(first) + 1, sum(moved) + 1))  # of how many are chosen, and of their sum
    shares[0, 0] = 1.0
    for value in moved:
        shares[1:] += np.stack([_moved(row, value) for row in shares[:-1]]) if len(first) else 0.0
        shares /= shares.max()  # counts of choices outgrow every float
    row = shares[len(first)]
    return _tail(row / row.sum(), sum(first) - low * len(first) - slack)


def rank(value: float, null: ArrayLike) -> float:
    """P-value of a value among those that it is exchangeable with: (1 + how many are as large) / (1 + all)."""
    others = np.asarray(null, dtype=np.float64)
    return float((1 + np.count_nonzero(others >= value)) / (1 + others.size))


def false_nulls(p: ArrayLike, half: float = 0.5) -> float:
    """How many of some hypotheses are false at least, by the p-values above a half (Storey 2002, "direct approach")."""
    values = np.asarray(p, dtype=np.float64)
    return float(max(0.0, values.size - np.count_nonzero(values > half) / (1.0 - half)))


def _moved(shares: Distribution, by: int) -> Distribution:
    """A distribution over whole numbers, moved; what leaves the range must be 0."""
    moved = np.zeros_like(shares)
    if by >= 0:
        moved[by:] = shares[: shares.size - by]
    else:
        moved[:by] = shares[-by:]
    return moved


def _tail(shares: Distribution, start: int) -> float:
    return float(min(1.0, shares[max(0, start) :].sum()))
