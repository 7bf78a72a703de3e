"""Away from an image: what is to be said of its noised latents so that denoising leads to others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from excise.diffusion.process import Process

LATENTS, NOISE, OTHER = (torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
TIMES = torch.tensor([1, 500, 998])
SCHEDULERS = [
    *(DDIMScheduler(prediction_type=predicts) for predicts in ("epsilon", "v_prediction", "sample")),
    DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    FlowMatchEulerDiscreteScheduler(shift=3.0),
]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_it_is_what_would_have_been_said_had_the_same_been_made_of_the_others(scheduler: Any) -> None:
    process = Process.of(scheduler)
    shown, said = process.task(LATENTS, NOISE, TIMES)
    assert torch.allclose(process.leading(shown, LATENTS, TIMES), said, atol=1e-2, rtol=1e-3)
    kept, spread = (scale.float().view(-1, 1, 1, 1) for scale in process.scales(TIMES))
    assert torch.allclose(shown, kept * LATENTS + spread * NOISE, atol=1e-5)
    implied = (shown - kept * OTHER) / spread
    again, wanted = process.task(OTHER, implied, TIMES)
    assert torch.allclose(again, shown, atol=1e-4)
    assert torch.allclose(process.leading(shown, OTHER, TIMES), wanted, rtol=1e-4, atol=1e-3)


def test_the_likeliest_is_the_nearest_at_little_noise_and_the_mean_at_nothing_but_noise() -> None:
    process = Process.of(DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True))
    candidates = torch.stack([LATENTS, OTHER, NOISE], dim=1)  # (rows, candidates, ...)
    shown = process.task(OTHER, NOISE, torch.tensor([1, 1, 1]))[0]
    assert torch.allclose(process.likeliest(shown, candidates, torch.tensor([1, 1, 1])), OTHER, atol=1e-5)
    pure = torch.tensor([999, 999, 999])
    assert torch.allclose(process.likeliest(NOISE, candidates, pure), candidates.mean(dim=1), atol=1e-5)


def test_weighed_by_the_noise_an_error_is_one_of_latents() -> None:
    """Of velocities, with and without a flow: so that a slightly noised image does not outweigh all else."""
    for process in (Process.of(SCHEDULERS[1]), Process.of(SCHEDULERS[4])):
        shown, _ = process.task(LATENTS, NOISE, TIMES)
        apart = process.leading(shown, OTHER, TIMES) - process.leading(shown, NOISE, TIMES)
        weighed = process.scales(TIMES)[1].square() * apart.square().flatten(1).mean(dim=1)
        assert torch.allclose(weighed.float(), (OTHER - NOISE).square().flatten(1).mean(dim=1), rtol=1e-3)
