from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from excise.mathematics.moments import Moments, mean_and_variance, merge, token_energy

CPU = torch.device("cpu")


def test_energy_is_that_of_normalised_tokens() -> None:
    inputs = torch.randn(3, 7, 20, generator=torch.Generator().manual_seed(0))
    expected = F.normalize(inputs.double(), dim=-1).square().sum(dim=1)
    torch.testing.assert_close(token_energy(inputs).double(), expected, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(token_energy(inputs).sum(dim=1), torch.full((3,), 7.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype: torch.dtype) -> None:
    inputs = torch.full((1, 2, 64), 3e4, dtype=dtype)
    torch.testing.assert_close(token_energy(inputs), torch.full((1, 64), 2 / 64), rtol=1e-6, atol=0)


def test_a_silent_token_adds_nothing() -> None:
    inputs = torch.zeros(1, 2, 4)
    inputs[0, 1, 2] = 5.0
    assert token_energy(inputs).tolist() == [[0.0, 0.0, 1.0, 0.0]]


def test_moments_over_prompts() -> None:
    energy = torch.rand(6, 9, generator=torch.Generator().manual_seed(1))
    whole, parts = Moments.zeros(1, 9, CPU), [Moments.zeros(1, 9, CPU) for _ in range(2)]
    whole.add(0, energy, tokens=4)
    parts[0].add(0, energy[:1], tokens=4)
    parts[1].add(0, energy[1:4], tokens=4)
    parts[1].add(0, energy[4:], tokens=4)
    merged = merge(parts)
    assert (merged.prompts.item(), merged.tokens.tolist()) == (6, [24])
    for moments in (whole, merged):
        mean, variance = mean_and_variance(moments)
        torch.testing.assert_close(mean[0], (energy.double() / 4).mean(dim=0))
        torch.testing.assert_close(variance[0], (energy.double() / 4).var(dim=0), rtol=1e-9, atol=1e-15)


def test_variance_survives_a_mean_a_million_times_larger() -> None:
    energy = 1.0 + torch.tensor([[0.0], [1e-6], [2e-6]])
    moments = Moments.zeros(1, 1, CPU)
    moments.add(0, energy, tokens=1)
    torch.testing.assert_close(mean_and_variance(moments)[1][0], energy.double().var(dim=0), rtol=1e-3, atol=0)
