"""Relaxed tokens follow their distribution; the divergence is the one of the textbooks."""

from __future__ import annotations

import torch
from torch.distributions import Normal, kl_divergence

from excise.mathematics.inversion import chosen, divergence, gumbel_softmax


def test_the_divergence_is_that_of_two_normal_distributions_and_0_of_usual_noise() -> None:
    own = torch.Generator().manual_seed(0)
    mean, log_variance = (torch.randn(3, 4, 8, 8, generator=own, dtype=torch.float64) for _ in range(2))
    usual = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    known = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), usual).flatten(1).mean(dim=1)
    assert torch.allclose(divergence(mean, log_variance), known)
    assert not divergence(torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)).any()


def test_choices_have_the_probabilities_of_their_logits() -> None:
    own, logits = torch.Generator().manual_seed(0), torch.tensor([0.0, 1.0, -2.0, 0.5])
    drawn = chosen(logits.expand(40_000, 4).clone(), torch.rand(40_000, 4, generator=own))
    assert torch.equal(drawn.sum(dim=1), torch.ones(40_000))
    assert torch.allclose(drawn.mean(dim=0), logits.softmax(dim=0), atol=0.01)


def test_a_relaxed_draw_is_a_mixture_and_comes_to_the_choice_as_the_temperature_falls() -> None:
    own = torch.Generator().manual_seed(1)
    logits, uniform = torch.randn(50, 6, generator=own), torch.rand(50, 6, generator=own)
    uniform[0, 0] = 0.0  # which a generator may give
    for temperature in (2.0, 0.5):
        mixed = gumbel_softmax(logits, uniform, temperature)
        assert torch.allclose(mixed.sum(dim=1), torch.ones(50)) and bool((mixed >= 0).all())
        assert torch.equal(mixed.argmax(dim=1), chosen(logits, uniform).argmax(dim=1))
    assert torch.allclose(gumbel_softmax(logits, uniform, 1e-4), chosen(logits, uniform), atol=1e-3)
