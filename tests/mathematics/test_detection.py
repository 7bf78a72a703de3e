"""Scores, p-values and discoveries, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control

from excise.mathematics.detection import (
    detail,
    discovery_rates,
    exceedances,
    guided,
    magnitude,
    one_step,
    p_values,
    true_positive_rate,
)


def test_detail_leaves_out_what_each_channel_has_everywhere() -> None:
    gap = torch.zeros(3, 2, 2, 2)
    gap[0, 1] = 5.0  # a colour
    gap[1, 0, 0] = 3.0  # the upper half
    gap[2] = gap[0] + gap[1]
    flat = torch.randn(3, 2, 2, 2)
    assert detail(flat + gap, flat).tolist() == pytest.approx([0.0, 3.0, 3.0], abs=1e-5)
    places_first = [tensor.flatten(2).transpose(1, 2) for tensor in (flat + gap, flat)]
    assert detail(*places_first).tolist() == pytest.approx([0.0, 3.0, 3.0], abs=1e-5)


def test_magnitude_is_the_length_of_each_row_alone() -> None:
    with_text, without = torch.zeros(2, 4, 3, 3), torch.zeros(2, 4, 3, 3)
    with_text[0, 0, 0, 0], without[0, 1, 0, 0] = 3.0, 4.0
    assert magnitude(with_text, without).tolist() == [5.0, 0.0]
    assert magnitude(with_text.bfloat16(), without.bfloat16()).dtype == torch.float32
    assert torch.equal(guided(with_text, without, 1.0), with_text)
    assert guided(with_text, without, 2.0)[0, 0, 0, 0] == 6.0 and guided(with_text, without, 2.0)[0, 1, 0, 0] == -4.0
    assert one_step(torch.full((2, 4, 2, 2), 3.0)).tolist() == [9.0, 9.0]


@pytest.mark.parametrize(("count", "null"), [(40, 19), (1000, 200), (7, 500)])
def test_discoveries_are_those_of_benjamini_and_hochberg(count: int, null: int) -> None:
    own = np.random.default_rng(count)
    ordinary = np.sort(own.normal(size=null).round(1))  # rounded: ties
    scores = np.concatenate([own.normal(size=count), own.normal(4.0, size=count // 5)]).round(1)
    found = exceedances(scores, ordinary)
    assert found.tolist() == [int((ordinary >= score).sum()) for score in scores]
    rates = discovery_rates(np.bincount(found, minlength=null + 1))
    assert np.allclose(rates[found], false_discovery_control(p_values(found, null)))
    assert (np.diff(rates) >= 0).all() and rates.size == null + 1


def test_scores_of_the_null_are_discovered_at_the_rate_asked_for() -> None:
    """All ordinary: in at most 5 % of tables is there any discovery at 5 %."""
    own = np.random.default_rng(0)
    any_found = 0
    for _ in range(400):
        null, scores = np.sort(own.normal(size=99)), own.normal(size=5)
        rates = discovery_rates(np.bincount(exceedances(scores, null), minlength=100))
        any_found += bool((rates[exceedances(scores, null)] <= 0.05).any())
    assert any_found <= 0.05 * 400 + 2 * (400 * 0.05 * 0.95) ** 0.5


def test_the_false_positive_rate_is_never_exceeded() -> None:
    negative = np.arange(100.0)
    assert true_positive_rate([98.5, 99.5], negative) == 1.0
    assert true_positive_rate([98.0, 99.5], negative) == 0.5, "at 98 two of a hundred would be as large"
    assert true_positive_rate([99.0, 99.5], np.arange(99.0)) == 1.0
    assert true_positive_rate([98.0, 98.5], np.arange(99.0)) == 0.5, "one of 99 is more than 1 %"
