"""95 % intervals whose unit is the training image: what shares one is not independent evidence.

Every function takes one value per prompt (its mean over seeds) and the cluster of each prompt: prompts of one template
or one image share a cluster, and clusters are what is resampled and counted. Without clusters each prompt is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
DRAWS = 4_000
_SEED = 0

Clusters = Sequence[Hashable] | None


class Estimate(NamedTuple):
    """A point estimate and the two ends of its interval."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]], table: ArrayLike, clusters: Clusters = None
) -> Estimate:
    """Percentile bootstrap (Efron 1979) of a statistic of means over prompts, resampling clusters.

    Args:
        statistic: maps the columns' means over prompts, ``(..., columns)``, to values ``(...)``.
        table: ``(prompts, columns)``; a vector counts as one column.
        clusters: the cluster of each prompt.

    Returns:
        The statistic with its interval, whose ends are NaN where there is one cluster: it shows no spread.

    Raises:
        ValueError: no prompt.
    """
    sums, sizes = _by_cluster(table, clusters)
    count, value = len(sizes), float(statistic(sums.sum(axis=0) / sizes.sum()))
    if count == 1:
        return Estimate(value, np.nan, np.nan)
    draws = np.random.default_rng(_SEED).multinomial(count, np.full(count, 1.0 / count), size=DRAWS)
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(statistic(draws @ sums / (draws @ sizes)[:, None]), [tail, 100.0 - tail])
    return Estimate(value, float(low), float(high))


def wilson(rate: float, count: int) -> Estimate:
    """Wilson's score interval (1927) of a rate seen on ``count`` independent cases.

    ``rate * count`` need not be whole: values in [0, 1] never vary more than yes-or-no answers of the same mean.
    """
    z = normal_quantile()
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return Estimate(rate, min(rate, max(0.0, float(centre - half))), max(rate, min(1.0, float(centre + half))))


def normal_quantile() -> float:
    """What a standard normal number is between, less and plus, at the confidence of these intervals: 1.96."""
    return NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


def rate_interval(per_prompt: ArrayLike, clusters: Clusters = None) -> Estimate:
    """Mean of values in [0, 1], one per prompt; at each end the wider of bootstrap and Wilson over clusters.

    A bootstrap alone has no width where every prompt agrees, and too little where few differ: one replication among
    32 prompts would give a lower upper end than none at all.
    """
    drawn = mean_interval(per_prompt, clusters)
    scored = wilson(drawn.value, len(_by_cluster(per_prompt, clusters)[1]))
    return Estimate(drawn.value, float(np.fmin(drawn.low, scored.low)), float(np.fmax(drawn.high, scored.high)))


def difference_interval(first: ArrayLike, second: ArrayLike, clusters: Clusters = None) -> Estimate:
    """Mean of ``first - second``, two rates in [0, 1] paired by prompt; the wider of bootstrap and Wilson-based.

    The latter joins Wilson's intervals of the mean gain and of the mean loss (Zou & Donner 2008, "MOVER").
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    drawn = mean_interval(difference, clusters)
    count = len(_by_cluster(difference, clusters)[1])
    gain = wilson(float(np.maximum(difference, 0.0).mean()), count)
    loss = wilson(float(np.maximum(-difference, 0.0).mean()), count)
    low = drawn.value - float(np.hypot(gain.value - gain.low, loss.high - loss.value))
    high = drawn.value + float(np.hypot(gain.high - gain.value, loss.value - loss.low))
    return Estimate(drawn.value, max(-1.0, float(np.fmin(drawn.low, low))), min(1.0, float(np.fmax(drawn.high, high))))


def ratio_interval(numerator: ArrayLike, denominator: ArrayLike, clusters: Clusters = None) -> Estimate | None:
    """Mean of ``numerator`` over mean of ``denominator``, both one value per prompt; None where the latter is 0."""
    table = np.stack([np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)], axis=1)
    if not table[:, 1].mean() > 0.0:
        return None
    return bootstrap(lambda mean: mean[..., 0] / np.maximum(mean[..., 1], np.finfo(np.float64).tiny), table, clusters)


def mean_interval(per_prompt: ArrayLike, clusters: Clusters = None) -> Estimate:
    """Mean of one value per prompt, by bootstrap."""
    return bootstrap(lambda mean: mean[..., 0], per_prompt, clusters)


def _by_cluster(table: ArrayLike, clusters: Clusters) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over the prompts of each cluster, ``(clusters, columns)``, and how many they are, ``(clusters,)``."""
    rows = np.asarray(table, dtype=np.float64)
    if len(rows) == 0:
        raise ValueError("an interval over prompts needs at least one prompt")
    rows = rows[:, None] if rows.ndim == 1 else rows
    names = list(range(len(rows))) if clusters is None else list(clusters)
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    member = np.zeros((len(places), len(rows)))
    member[[places[name] for name in names], range(len(rows))] = 1.0
    return member @ rows, member.sum(axis=1)
