"""Other samplers: the caption asked another way, or its image noised; what a pipeline cannot do is refused."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from excise.attacks import replay
from excise.attacks.base import Budget, Target
from excise.attacks.samplers import FROM_IMAGES, check_settings, draw, find
from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import denoise, noise_key
from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.recipe import Samplers, Sampling
from tests.diffusion.pipelines import FAMILIES, save

TEXTS = ["a pile of old coins", "a page of printed text"]
SAMPLING = Sampling(steps=4, guidance=3.0, batch=2, size=64)


def targets() -> list[Target]:
    """Two captions with images."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return [Target(Prompt(text), image) for text, image in zip(TEXTS, images, strict=True)]


def drawn(
    pipeline: DiffusionPipeline, way: str, seeds: tuple[int, ...] = (5,), sampling: Sampling = SAMPLING
) -> Tensor:
    with closing(find(pipeline, targets(), Budget.of(Samplers(), way, SAMPLING))) as search:
        found = next(search)
        return draw(pipeline, [(trigger, seed) for trigger in found.triggers for seed in seeds], sampling)


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> DiffusionPipeline:
    return Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))


@pytest.mark.parametrize(("way", "change"), [("guidance-7.5", {"guidance": 7.5}), ("steps-2", {"steps": 2})])
def test_guidance_and_steps_are_those_of_the_way(pipeline: DiffusionPipeline, way: str, change: dict[str, Any]) -> None:
    expected = replay.replay(pipeline, TEXTS, [5], SAMPLING.model_copy(update=change))[:, 0]
    assert torch.equal(drawn(pipeline, way), expected)
    assert not torch.equal(expected, replay.replay(pipeline, TEXTS, [5], SAMPLING)[:, 0])


@pytest.mark.parametrize("name", Samplers().schedulers)
def test_a_scheduler_of_another_class_draws_from_the_same_noise(
    pipeline: DiffusionPipeline, tiny_checkpoint: Path, name: str
) -> None:
    own = pipeline.scheduler
    found = drawn(pipeline, f"scheduler-{name}")
    assert pipeline.scheduler is own and type(own) is DDIMScheduler
    other = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    other.scheduler = getattr(diffusers, name).from_config(own.config)
    assert torch.equal(found, replay.replay(other, TEXTS, [5], SAMPLING)[:, 0])


def test_less_is_left_of_the_image_the_more_it_is_noised(pipeline: DiffusionPipeline) -> None:
    """And of hardly any noise something is left by any denoiser: these weights are random."""
    two = [Target(Prompt(TEXTS[0]), target.image) for target in targets()]

    def apart(way: str) -> float:
        with closing(find(pipeline, two, Budget.of(Samplers(), way, SAMPLING))) as search:
            found = draw(pipeline, [(trigger, 5) for trigger in next(search).triggers], Sampling(steps=20, size=64))
        return (found[0].float() - found[1].float()).abs().mean().item()

    assert apart("image-0.05") > 1.5 * apart("image-0.7") > 2.0 * apart("image-0.95") > 0.0


def test_one_is_begun_with_ones_own_image_and_noise(pipeline: DiffusionPipeline) -> None:
    """As diffusers' pipeline gives it for that image alone."""
    found = drawn(pipeline, "image-0.7", seeds=(5, 6))
    running = diffusers.StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    running.set_progress_bar_config(disable=True)
    second = targets()[1].image
    assert second is not None
    alone = denoise(
        running, TEXTS[1:], [noise_key(TEXTS[1], 6)], SAMPLING, start={"image": second[None], "strength": 0.7}
    )
    assert (found[3].int() - (alone[0] * 255).round().int()).abs().max() <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pipeline_begins_with_an_image_or_is_refused_by_name(family: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(save(family, tmp_path / family))
    pipeline = checkpoint.load(torch.float32, torch.device("cpu"))
    if type(pipeline).__name__ in FROM_IMAGES:
        found = drawn(pipeline, "image-0.5")
        assert found.shape == (2, 3, 64, 64) and not torch.equal(*found)
        return
    with pytest.raises(ExciseError, match=f"no image-to-image beside {type(pipeline).__name__}.*strengths = \\[\\]"):
        drawn(pipeline, "image-0.5")
    with pytest.raises(ExciseError, match="no image-to-image"):
        check_settings(Samplers(schedulers=()), SAMPLING, checkpoint.pipeline_class, checkpoint.scheduler())


STOCK = DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)


@pytest.mark.parametrize(
    ("settings", "scheduler", "message"),
    [
        ({"schedulers": ("HeunDiscreteScheduler",)}, STOCK, "Heun.* nothing of rescale_betas_zero_snr.* use DDPMSch"),
        ({"schedulers": ("EDMEulerScheduler",)}, DDIMScheduler(), "EDMEulerScheduler knows nothing of beta_start"),
        ({"schedulers": ("DPMSolverSDEScheduler",)}, STOCK, "attack.samplers.schedulers: .*torchsde"),
        ({"schedulers": ("Persuasion",)}, STOCK, "Persuasion is not compatible with this model's DDIM.*DDPMScheduler"),
        ({}, FlowMatchEulerDiscreteScheduler(), "not compatible with this model's FlowMatchEuler.* leave it out"),
        ({"other_steps": (10, 1001)}, STOCK, "other_steps: 1001; this model knows 1000 timesteps"),
        ({"strengths": (0.9, 0.2)}, STOCK, "0.2 of 4 steps .* is no step at all"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_drawn(
    settings: dict[str, Any], scheduler: Any, message: str
) -> None:
    with pytest.raises(ExciseError, match=message):
        check_settings(Samplers(**settings), SAMPLING, "StableDiffusionPipeline", scheduler)


def test_an_image_is_needed_to_begin_with_one(pipeline: DiffusionPipeline) -> None:
    with closing(find(pipeline, [Target(Prompt(TEXTS[0]))], Budget.of(Samplers(), "image-0.5"))) as search:
        found = next(search)
    with pytest.raises(ExciseError, match="'a pile of old coins' has no training image to begin with"):
        draw(pipeline, [(found.triggers[0], 5)], SAMPLING)


def test_broken_pixels_are_refused(tiny_checkpoint: Path) -> None:
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    with torch.no_grad():
        next(pipeline.unet.parameters()).fill_(torch.nan)
    with pytest.raises(ExciseError, match=r"denoiser or .* infinite latents in float32 for 'a pile of old coins'"):
        drawn(pipeline, "image-0.5")


def test_none_of_all_is_no_attack() -> None:
    with pytest.raises(ValueError, match="name some, or leave the attack out"):
        Samplers(guidance=(), other_steps=(), schedulers=(), strengths=())
    assert Samplers(guidance=(), other_steps=(30,), schedulers=()).variants[0] == "steps-30"
