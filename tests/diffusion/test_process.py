"""Noise as the library's own schedulers add it, and what their models are to predict."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
)

from excise.diffusion.process import Process
from excise.errors import ExciseError
from excise.mathematics.noising import shifted, squared_error

LATENTS, NOISE = (torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
TIMES = torch.tensor([0, 1, 500, 998, 999])


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("zero", [False, True])
def test_noise_and_what_is_predicted_are_the_schedulers_own(predicts: str, zero: bool) -> None:
    scheduler = DDIMScheduler(prediction_type=predicts, rescale_betas_zero_snr=zero)
    shown, said = Process.of(scheduler).task(LATENTS, NOISE, TIMES)
    assert torch.allclose(shown, scheduler.add_noise(LATENTS, NOISE, TIMES), atol=1e-5)
    velocity = scheduler.get_velocity(LATENTS, NOISE, TIMES)
    expected = {"epsilon": NOISE, "sample": LATENTS, "v_prediction": velocity}[predicts]
    assert torch.allclose(said, expected, atol=1e-5)
    for place in (2, 3):  # and with the right answer, the scheduler knows the image
        step = (
            scheduler.step(said[place], int(TIMES[place]), shown[place])
            if scheduler.set_timesteps(1000) is None
            else None
        )
        assert torch.allclose(step.pred_original_sample, LATENTS[place].clamp(-1, 1), atol=2e-2)


@pytest.mark.parametrize("kind", [PNDMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler, LCMScheduler])
def test_other_schedulers_of_the_same_betas_have_the_same_noise(kind: Any) -> None:
    process = Process.of(kind(prediction_type="epsilon"))
    betas = {"beta_start": kind().config.beta_start, "beta_end": kind().config.beta_end}
    plain = DDIMScheduler(beta_schedule=kind().config.beta_schedule, **betas)
    assert torch.allclose(process.task(LATENTS, NOISE, TIMES)[0], plain.add_noise(LATENTS, NOISE, TIMES), atol=1e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flow_is_the_straight_path_at_the_samplers_levels(shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    process = Process.of(scheduler)
    times = scheduler.timesteps[[0, 10, 500, 900, 999]]
    shown, said = process.task(LATENTS, NOISE, times)
    assert torch.allclose(shown, scheduler.scale_noise(LATENTS, times, NOISE), atol=1e-5)
    assert torch.equal(said, NOISE - LATENTS)
    drawn = process.draw(4000, torch.Generator().manual_seed(0))
    assert drawn.min() >= 0 and drawn.max() <= 1000
    assert (drawn / 1000).median() == pytest.approx(float(shifted(torch.tensor(0.5), shift)), abs=0.02)


def test_sana_and_flux_say_it_otherwise() -> None:
    sana = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    assert Process.of(sana) == Process("flow_prediction", 1000, None, 3.0)
    flux = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    assert Process.of(flux) == Process("flow_prediction", 1000, None, 1.0)


def test_timesteps_are_uniform_and_whole() -> None:
    drawn = Process.of(DDIMScheduler()).draw(20_000, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int64 and (int(drawn.min()), int(drawn.max())) == (0, 999)
    assert drawn.double().mean() == pytest.approx(499.5, abs=8.0)


def test_a_prediction_that_nobody_knows_is_refused() -> None:
    scheduler = DDIMScheduler()
    scheduler.register_to_config(prediction_type="colour")
    with pytest.raises(ExciseError, match="a DDIMScheduler that predicts 'colour'"):
        Process.of(scheduler)


def test_each_row_has_an_error_of_its_own() -> None:
    assert torch.allclose(squared_error(LATENTS, NOISE), ((LATENTS - NOISE) ** 2).mean(dim=(1, 2, 3)))


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
def test_one_step_to_the_end_of_a_right_answer_is_the_image(predicts: str, zero: bool) -> None:
    """Also where the first timestep is pure noise: what the model says then still counts."""
    process = Process.of(DDIMScheduler(prediction_type=predicts, rescale_betas_zero_snr=zero))
    shown, said = process.task(LATENTS, NOISE, torch.tensor([999] * 5))
    change = process.one_step_change(shown, said, 999.0)
    assert torch.allclose(change, NOISE if predicts == "epsilon" else shown - LATENTS, atol=1e-5)
    flow = Process.of(FlowMatchEulerDiscreteScheduler())
    assert torch.equal(flow.one_step_change(shown, said, 1000.0), said)
