from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from excise.mathematics.significance import benjamini_hochberg, welch


def describe(values: np.ndarray) -> tuple[Tensor, Tensor]:
    tensor = torch.from_numpy(values)
    return tensor.mean(dim=0), tensor.var(dim=0)


def test_welch_against_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1.0, (7, 50)), rng.normal(0.0, 3.0, (12, 50))
    (mean_a, var_a), (mean_b, var_b) = describe(a), describe(b)
    expected = stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue
    np.testing.assert_allclose(welch((mean_a, mean_b), (var_a, var_b), (7, 12)).numpy(), expected, rtol=1e-9)


def test_a_single_contrast_prompt_is_a_constant() -> None:
    values = np.random.default_rng(1).normal(0.2, 1.0, (6, 20))
    mean, variance = describe(values)
    constant = torch.full((20,), 0.1, dtype=torch.float64)
    expected = stats.ttest_1samp(values, 0.1, alternative="greater").pvalue
    found = welch((mean, constant), (variance, torch.full_like(constant, torch.nan)), (6, 1))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_without_variation_the_sign_decides() -> None:
    mean = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
    zero = torch.zeros(3, dtype=torch.float64)
    assert welch((mean, torch.full_like(mean, 0.5)), (zero, zero), (3, 3)).tolist() == [0.0, 1.0, 1.0]


def test_one_prompt_cannot_be_tested() -> None:
    value = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="two prompts"):
        welch((value, value), (value, value), (1, 5))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_benjamini_hochberg_against_scipy(rate: float) -> None:
    rng = np.random.default_rng(2)
    p = np.concatenate([rng.uniform(0, 1, (3, 80)), rng.uniform(0, 0.004, (3, 20))], axis=1)
    expected = np.stack([stats.false_discovery_control(row) <= rate for row in p])
    assert np.array_equal(benjamini_hochberg(torch.from_numpy(p), rate).numpy(), expected)


def test_benjamini_hochberg_may_reject_nothing() -> None:
    assert not benjamini_hochberg(torch.tensor([0.2, 0.9, 0.5]), 0.05).any()
