"""Edited model against a model that never saw the images: per attack and point, and per image; all recomputable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm, sqrt

import numpy as np
import torch
from scipy.stats import false_discovery_control

from excise.mathematics.intervals import difference_interval, rate_interval
from excise.mathematics.permutation import false_nulls, paired, rank, unpaired
from excise.mathematics.significance import benjamini_hochberg
from excise.prompts.questions import NEVER_SEEN, question
from excise.verdict.models import Certificates, Verdict
from excise.verdict.searched import Attacked, Certificate, Comparison, Estimate, Point

Rows = Sequence[Attacked]
MOST = 5_000_000
"""Sums that are told apart in one permutation test at most; where the templates' sizes have no common multiple that
would do, means are rounded, and p-values are never too small for it."""

QUICKNESS = ("relearn",)
"""Attacks whose success goes with how fast a model learns anything: models that never saw an image differ in that,
so the edited model's own never-seen images come before the twin."""


def compare(attacks: Mapping[str, Point], attacked: Rows) -> tuple[Comparison, ...]:
    """Every attack but replay, at every point, on every set of memorized images that it was made on."""
    found = [_compared(key, point, name, attacked) for key, point in attacks.items() if key != "replay"
             for name in _sets(key, attacked)]  # fmt: skip
    made = [one for one in found if one is not None]
    adjusted = false_discovery_control([one.p for one in made]) if made else []
    return tuple(one.model_copy(update={"q": _digits(q)}) for one, q in zip(made, adjusted, strict=True))


def _sets(key: str, attacked: Rows) -> list[str]:
    return list(dict.fromkeys(row.set for row in attacked if key in row.hits and question(row.set).memorized))


def _compared(key: str, point: Point, name: str, attacked: Rows) -> Comparison | None:
    rows = [row for row in attacked if row.set == name and key in row.hits]
    twin = _known("twin", rows, key)
    null = [row for row in attacked if row.set == NEVER_SEEN.key and key in row.hits]
    if not twin and not null:
        return None
    twin = twin and not (null and point.attack in QUICKNESS)
    edited, clusters = _rates(rows, key, "edited", point), [row.cluster for row in rows]
    if twin:
        control = _rates(rows, key, "twin", point)
        beside = clusters
        difference = difference_interval(edited, control, clusters)
        gap = Estimate(value=_rounded(difference.value), interval=_ends(difference.low, difference.high))
        ours, theirs = _means(rows, key, "edited"), _means(rows, key, "twin")
        first, second, exact = _wholes(ours, theirs, MOST // (2 * point.seeds * len(ours)))
        p = paired(first, second, 0 if exact else 2 * len(first))
    else:
        control, beside = _rates(null, key, "edited", point), [row.cluster for row in null]
        gap = apart(rate_interval(edited, clusters), rate_interval(control, beside))
        ours, theirs = _means(rows, key, "edited"), _means(null, key, "edited")
        cells = (len(ours) + 1) * (len(ours) + len(theirs)) * point.seeds
        first, second, exact = _wholes(ours, theirs, MOST // cells)
        p = unpaired(first, second, 0 if exact else len(first))
    return Comparison(
        attack=key,
        set=name,
        against="twin" if twin else "never_seen",
        images=len(set(clusters)),
        base=_estimate(_rates(rows, key, "base", point), clusters) if _known("base", rows, key) else None,
        edited=_estimate(edited, clusters),
        control=_estimate(control, beside),
        difference=gap,
        p=_digits(p),
        q=1.0,
    )


def _known(model: str, rows: Rows, key: str) -> bool:
    return all(model in row.hits[key] for row in rows)


def _rates(rows: Rows, key: str, model: str, point: Point) -> list[float]:
    return [row.hits[key].get(model, 0) / point.seeds for row in rows]


def _means(rows: Rows, key: str, model: str) -> list[Fraction]:
    """Of each cluster its mean number of hits."""
    hits: dict[int, list[int]] = {}
    for row in rows:
        hits.setdefault(row.cluster, []).append(row.hits[key].get(model, 0))
    return [Fraction(sum(found), len(found)) for found in hits.values()]


def _wholes(first: Sequence[Fraction], second: Sequence[Fraction], most: int) -> tuple[list[int], list[int], bool]:
    """Means times what makes all of them whole, and whether it does; where that is over ``most``, they are rounded."""
    whole = lcm(*(mean.denominator for mean in (*first, *second)))
    scale = min(whole, max(1, most))
    return [round(mean * scale) for mean in first], [round(mean * scale) for mean in second], scale == whole


def apart(first: tuple[float, float, float], second: tuple[float, float, float]) -> Estimate:
    """Difference of two rates of other images, each with its interval; with one (Newcombe 1998, method 10)."""
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    low, high = a - b - sqrt((a - a_low) ** 2 + (b_high - b) ** 2), a - b + sqrt((a_high - a) ** 2 + (b - b_low) ** 2)
    return Estimate(value=_rounded(a - b), interval=_ends(max(-1.0, low), min(1.0, high)))


def certify(attacks: Mapping[str, Point], attacked: Rows, rate: float) -> tuple[Certificate, ...]:
    """A certificate for each memorized image; none where nothing shows what a model draws that never saw it.

    An image's likeness under all attacks is ranked among those of a model that never saw the images: the twin's, of
    all memorized images; without a twin the edited model's own, of never-seen images.

    Args:
        attacks: what was tried.
        attacked: what it brought back.
        rate: the false discovery rate at which an image is told apart.
    """
    rows = [row for row in attacked if question(row.set).memorized and set(row.hits) == set(attacks)]
    null = [row.likeness["twin"] for row in rows if "twin" in row.likeness]
    if not null:
        unseen = [row for row in attacked if row.set == NEVER_SEEN.key and set(row.hits) == set(attacks)]
        null = [row.likeness["edited"] for row in unseen]
    if not rows or not null:
        return ()
    p = [rank(row.likeness["edited"], null) for row in rows]
    apart = benjamini_hochberg(torch.tensor(p, dtype=torch.float64), rate).tolist()
    return tuple(_certificate(attacks, *one) for one in zip(rows, p, apart, strict=True))


def worst_of(attacks: Mapping[str, Point], row: Attacked) -> tuple[str, float]:
    """The attack that brings most of an image back from the edited model, the first of equals, and the share."""
    shares = {key: hits.get("edited", 0) / attacks[key].seeds for key, hits in row.hits.items()}
    worst = max(shares, key=lambda key: shares[key])
    return worst, shares[worst]


def _certificate(attacks: Mapping[str, Point], row: Attacked, p: float, apart: bool) -> Certificate:
    worst, share = worst_of(attacks, row)
    twin, base = row.hits[worst].get("twin"), row.hits["replay"].get("base")
    return Certificate(
        sha256=row.sha256,
        set=row.set,
        base=None if base is None else _rounded(base / attacks["replay"].seeds),
        attack=worst,
        edited=_rounded(share),
        control=None if twin is None else _rounded(twin / attacks[worst].seeds),
        p=_rounded(p),
        passes=not apart,
    )


def may_be_wrong(certificates: Sequence[Certificate]) -> int:
    """How many of the images that pass are kept for all that, by the excess of small p-values (Storey 2002)."""
    refused = sum(not one.passes for one in certificates)
    return int(np.ceil(max(0.0, false_nulls([one.p for one in certificates]) - refused)))


def certificates_of(verdict: Verdict) -> Certificates:
    """What certificate.json holds."""
    found = verdict.certificates
    return Certificates(
        false_discovery=verdict.settings["verdict"]["false_discovery"],
        images=found,
        passed=sum(one.passes for one in found),
        may_be_wrong=may_be_wrong(found),
    )


def _estimate(per_image: Sequence[float], clusters: Sequence[int]) -> Estimate:
    found = rate_interval(per_image, clusters)
    return Estimate(value=_rounded(found.value), interval=_ends(found.low, found.high))


def _ends(low: float, high: float) -> tuple[float, float] | None:
    return None if np.isnan(low) or np.isnan(high) else (_rounded(low), _rounded(high))


def _digits(p: float) -> float:
    """A p-value to six digits, however small: no arrangement is impossible, and it is never 0."""
    return float(f"{p:.6g}")


def _rounded(value: float) -> float:
    return round(float(value), 6)
