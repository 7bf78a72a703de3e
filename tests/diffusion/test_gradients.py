"""Gradients of the training loss with respect to the text, against differences; and what stands in their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline

from excise.diffusion.denoise import denoise
from excise.diffusion.gradients import TextLoss, activations_recomputed, in_halves
from excise.diffusion.latents import latents_of, scaled
from excise.diffusion.load import denoiser
from excise.diffusion.text_inputs import seen_call, text_inputs, text_replaced
from excise.errors import ExciseError
from excise.recipe import Sampling
from tests.diffusion.pipelines import FAMILIES

SAMPLING = Sampling(steps=2, guidance=3.0, size=64)
TEXTS = ("an astronaut in an orange suit", "a pile of old coins")
ATTACKED = ("sd14", "sdxl", "sd3", "flux", "pixart", "hunyuan", "sana")


def built(family: str) -> DiffusionPipeline:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = FAMILIES[family]()
        for parameter in denoiser(pipeline).parameters():  # some start at zero, and then nothing reaches the output
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def pipelines() -> Callable[[str], DiffusionPipeline]:
    made: dict[str, DiffusionPipeline] = {}

    def give(family: str) -> DiffusionPipeline:
        return made[family] if family in made else made.setdefault(family, built(family))

    return give


def material(loss: TextLoss, latents: torch.Tensor, samples: int = 2) -> dict[str, Any]:
    """Noise and timesteps for every prompt."""
    own = torch.Generator().manual_seed(0)
    noise = torch.randn(len(latents), samples, *latents.shape[1:], generator=own, dtype=latents.dtype)
    times = loss.process.draw(len(latents) * samples, own).view(len(latents), samples)
    return {"latents": latents, "noise": noise, "timesteps": times}


def pictures(count: int = 2) -> list[torch.Tensor]:
    own = torch.Generator().manual_seed(1)
    return [torch.rand(3, 64, 64, generator=own) for _ in range(count)]


@pytest.mark.parametrize("family", [name for name in ATTACKED if name != "hunyuan"])  # part of it is float32 always
def test_gradients_are_those_of_finite_differences(family: str) -> None:
    """In double precision, along a random direction of all text inputs at once; one row at a time gives the same."""
    pipeline = built(family).to(torch.float64)
    loss = TextLoss(pipeline, TEXTS, SAMPLING)
    given = material(loss, torch.stack([latents_of(pipeline, image) for image in pictures()]))
    whole, losses, size = loss.gradient(loss.text, **given, size=8)
    parts, again, _ = loss.gradient(loss.text, **given, size=1)
    assert size == 8 and torch.allclose(losses, again, rtol=1e-9)
    own = torch.Generator().manual_seed(2)
    way = {name: torch.randn(value.shape, generator=own).double() for name, value in loss.text.items()}
    assert set(way) == set(text_inputs(type(pipeline).__name__))
    for name, value in whole.items():
        assert torch.allclose(value, parts[name], rtol=1e-6, atol=1e-12)
        assert value.flatten(1).any(dim=1).all()  # every input of every prompt counts
    step, ends = 1e-4, []
    for sign in (1.0, -1.0):
        moved = {name: value + sign * step * way[name] for name, value in loss.text.items()}
        ends.append(loss.gradient(moved, **given, size=8)[1])
    slopes = torch.stack([sum((whole[name][i] * way[name][i]).sum() for name in way) for i in range(2)])
    least = 1e-4 * float(slopes.abs().max())  # a direction may lie across the gradient, and its slope be near nothing
    assert torch.allclose((ends[0] - ends[1]) / (2 * step), slopes, rtol=1e-3, atol=least)


@pytest.mark.parametrize("family", ATTACKED)
def test_latents_are_what_the_pipeline_itself_decodes(
    family: str, pipelines: Callable[[str], DiffusionPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Any = pipelines(family)
    seen = []
    decode = run.vae.decode
    monkeypatch.setattr(
        run.vae, "decode", lambda latents, *rest, **options: seen.append(latents) or decode(latents, *rest, **options)
    )
    denoise(run, TEXTS[:1], [3], SAMPLING)
    latents = denoise(run, TEXTS[:1], [3], SAMPLING, decode=False)
    assert torch.allclose(scaled(run, seen[0]), latents, atol=1e-4)
    assert latents_of(run, pictures(1)[0]).shape == latents.shape[1:]


def test_what_replaces_the_text_is_what_the_denoiser_sees(pipelines: Callable[[str], DiffusionPipeline]) -> None:
    """The text of another prompt draws that prompt's image, with guidance and without."""
    pipeline = pipelines("sdxl")
    call = seen_call(pipeline, TEXTS[1], SAMPLING)
    text = {name: call[name] for name in text_inputs("StableDiffusionXLPipeline")}
    for guidance in (3.0, 1.0):
        sampling = SAMPLING.model_copy(update={"guidance": guidance})
        with text_replaced(pipeline, text):
            found = denoise(pipeline, TEXTS[:1], [5], sampling)
        assert torch.allclose(found, denoise(pipeline, TEXTS[1:], [5], sampling), atol=1e-4)
        assert not torch.allclose(found, denoise(pipeline, TEXTS[:1], [5], sampling), atol=1e-3)


def test_recomputed_activations_give_the_same_gradients(pipelines: Callable[[str], DiffusionPipeline]) -> None:
    pipeline = pipelines("sd14")
    loss = TextLoss(pipeline, TEXTS, SAMPLING)
    given = material(loss, torch.stack([latents_of(pipeline, image) for image in pictures()]))
    plain = loss.gradient(loss.text, **given, size=8)[0]
    with activations_recomputed(pipeline, True):
        assert denoiser(pipeline).is_gradient_checkpointing
        again = loss.gradient(loss.text, **given, size=8)[0]
    assert not denoiser(pipeline).is_gradient_checkpointing
    assert all(torch.allclose(plain[name], again[name], atol=1e-7) for name in plain)


def test_gradients_that_are_no_numbers_are_refused_by_their_dtype() -> None:
    pipeline = built("sd14")
    pipeline.scheduler = DDIMScheduler(prediction_type="v_prediction")
    denoiser(pipeline).to(torch.bfloat16)
    pipeline.text_encoder.to(torch.bfloat16)
    loss = TextLoss(pipeline, TEXTS, SAMPLING)
    given = material(loss, torch.stack([latents_of(pipeline, image) for image in pictures()]))
    assert loss.gradient(loss.text, **given, size=8)[1].dtype == torch.float32
    next(denoiser(pipeline).parameters()).data.fill_(torch.inf)
    with pytest.raises(ExciseError, match=r"gradients in bfloat16 are NaN or infinite; set model.dtype = 'float32'"):
        loss.gradient(loss.text, **given, size=8)


def test_rows_are_halved_where_memory_runs_out() -> None:
    done: list[int] = []

    def work(start: int, stop: int) -> None:
        if stop - start > 3:
            raise torch.OutOfMemoryError
        done.extend(range(start, stop))

    assert in_halves(work, 10, 16) == 2
    assert done == list(range(10))

    def never(start: int, stop: int) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(ExciseError, match="gradient of even one image"):
        in_halves(never, 2, 2)


def test_a_pipeline_whose_text_has_no_length_of_its_own_is_refused_by_name() -> None:
    with pytest.raises(ExciseError, match="cannot attack a CogView4Pipeline"):
        text_inputs("CogView4Pipeline")
