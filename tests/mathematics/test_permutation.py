"""Exact tests, against every arrangement counted one by one and against scipy's."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import permutation_test

from excise.mathematics.permutation import false_nulls, paired, rank, unpaired

FIRST, SECOND = (2, 2, 0, 1, 2, 0, 2), (0, 1, 0, 1, 0, 1, 0)


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean(a) - np.mean(b))


def test_pairs_are_every_choice_of_signs() -> None:
    differences = [a - b for a, b in zip(FIRST, SECOND, strict=True)]
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in product((1, -1), repeat=7)]
    assert paired(FIRST, SECOND) == pytest.approx(np.mean([found >= sum(differences) for found in sums]))
    found = permutation_test(
        (FIRST, SECOND), mean_difference, permutation_type="samples", n_resamples=np.inf, alternative="greater"
    )
    assert paired(FIRST, SECOND) == pytest.approx(found.pvalue)


def test_groups_are_every_choice_of_images() -> None:
    whole = (*FIRST, *SECOND[:4])
    sums = [sum(chosen) for chosen in combinations(whole, 7)]
    assert unpaired(FIRST, SECOND[:4]) == pytest.approx(np.mean([found >= sum(FIRST) for found in sums]))
    found = permutation_test((FIRST, SECOND[:4]), mean_difference, n_resamples=np.inf, alternative="greater")
    assert unpaired(FIRST, SECOND[:4]) == pytest.approx(found.pvalue)


def test_large_sets_are_exact_too() -> None:
    """A hundred images that all came back, and none with the other model: one arrangement of 2^100, or of (200 100)."""
    assert paired([2] * 100, [0] * 100) == pytest.approx(2.0**-100)
    assert 0.0 < unpaired([1] * 100, [0] * 100) < 1e-55
    assert unpaired([4] * 500, [4] * 500) == paired([4] * 500, [4] * 500) == 1.0


def test_nothing_to_compare_shows_nothing() -> None:
    assert paired([], []) == unpaired([], []) == unpaired([1, 2], []) == 1.0
    assert paired([0, 0], [1, 2]) == 1.0


def test_a_rank_is_never_zero() -> None:
    assert rank(3.0, [0.0, 1.0, 2.0]) == 0.25 and rank(1.0, [0.0, 1.0, 2.0]) == 0.75 and rank(-1.0, []) == 1.0


def test_false_nulls_are_those_that_uniform_p_values_leave_out() -> None:
    uniform = (np.arange(100) + 0.5) / 100
    assert false_nulls(uniform) == 0.0
    assert false_nulls([*uniform, *[0.001] * 30]) == 30.0


def test_a_slack_only_ever_raises_the_p_value() -> None:
    """Values that are rounded to whole numbers: what an arrangement may have lost by it is given back."""
    own = np.random.default_rng(0)
    for _ in range(10):
        first, second = own.uniform(0, 2, size=8), own.uniform(0, 2, size=8)
        fine = [[round(1_000 * v) for v in values] for values in (first, second)]
        coarse = [[round(10 * v) for v in values] for values in (first, second)]
        assert paired(*coarse, slack=16) >= paired(*fine)
        assert unpaired(*coarse, slack=8) >= unpaired(*fine)
