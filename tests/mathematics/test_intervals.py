import numpy as np
import pytest

from excise.mathematics.intervals import (
    bootstrap,
    difference_interval,
    mean_interval,
    rate_interval,
    ratio_interval,
    wilson,
)


def test_wilson_is_the_textbook_value():
    # Newcombe 1998 (Statistics in Medicine 17, 857), Table I: 81/263 and 0/20.
    assert wilson(81 / 263, 263)[1:] == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0.0, 20)[1:] == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_an_interval_of_all_or_none_has_width():
    for rate, other in ((0.0, 1), (1.0, 2)):
        found = rate_interval(np.full(32, rate))
        assert found.value == rate
        assert 0.05 < found.high - found.low < 0.15
        assert found[other] == rate


def test_one_replication_never_bounds_tighter_than_none():
    none, one = np.zeros(32), np.zeros(32)
    one[0] = 0.25
    assert rate_interval(one).high > rate_interval(none).high


def test_seeds_of_one_prompt_are_not_independent_evidence():
    rng = np.random.default_rng(0)
    per_prompt = rng.integers(0, 2, 16).astype(float)  # every seed of a prompt agrees
    alone, repeated = rate_interval(per_prompt), rate_interval(np.repeat(per_prompt[:, None], 100, axis=1).mean(axis=1))
    assert alone == pytest.approx(repeated)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_rate_interval_covers_the_truth_with_correlated_seeds(rate):
    rng = np.random.default_rng(1)
    concentration, covered, trials = 0.5, 0, 150
    for _ in range(trials):
        truth = rng.beta(rate * concentration, (1 - rate) * concentration, 32)
        seen = rng.binomial(4, truth) / 4
        found = rate_interval(seen)
        covered += found.low <= rate <= found.high
    assert covered / trials >= 0.93


def test_bootstrap_of_a_mean_is_close_to_the_normal_interval():
    values = np.random.default_rng(2).normal(3.0, 1.0, 400)
    found = mean_interval(values)
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.01)
    assert found.high == pytest.approx(values.mean() + half, abs=0.01)


def test_bootstrap_is_repeatable():
    values = np.random.default_rng(3).normal(size=9)
    assert mean_interval(values) == mean_interval(values)


def test_difference_is_paired_by_prompt():
    rng = np.random.default_rng(4)
    first = rng.integers(0, 2, 100).astype(float)
    found = difference_interval(first, first)
    assert found.value == 0.0
    assert -0.05 < found.low < 0.0 < found.high < 0.05  # not zero width: 100 prompts cannot show a drop is exactly 0
    second = first.copy()
    second[:10] = 0.0
    found = difference_interval(first, second)
    assert found.value == pytest.approx(first[:10].mean() / 10)
    assert found.low < found.value < found.high


def test_ratio_of_means():
    top, bottom = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])
    assert ratio_interval(top, bottom) == pytest.approx((0.5, 0.5, 0.5))
    assert ratio_interval(top, np.zeros(3)) is None
    spread = ratio_interval(np.array([1.0, 0.0, 2.0, 1.0]), np.ones(4))
    assert spread is not None and spread.low < 1.0 < spread.high


def test_prompts_of_one_template_count_once():
    rates, templates = np.array([0.0, 0.5, 1.0]), ["carpet", "case", "mug"]
    alone = rate_interval(rates)
    assert rate_interval(np.repeat(rates, 8), np.repeat(templates, 8).tolist()) == pytest.approx(alone)
    uneven = rate_interval([0.0, 0.0, 0.0, 1.0], ["carpet", "carpet", "carpet", "case"])
    assert uneven.value == 0.25  # each prompt weighs the same
    one = rate_interval([0.0, 0.0, 0.0], ["carpet"] * 3)
    assert one.value == 0.0 and one.high > 0.7


def test_no_prompt_is_an_error():
    with pytest.raises(ValueError, match="at least one prompt"):
        bootstrap(lambda mean: mean[..., 0], [])
