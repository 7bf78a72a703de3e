"""Relearning: the denoiser is trained as anybody would, drawn with, and has its own bits again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.attacks import replay
from excise.attacks.base import Budget, Target
from excise.attacks.relearn import Relearned, draw, find
from excise.checkpoint import Checkpoint
from excise.diffusion.gradients import TextLoss
from excise.diffusion.latents import latents_of
from excise.diffusion.load import denoiser
from excise.diffusion.text_inputs import TEXT_INPUTS
from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.recipe import Relearn, Sampling
from tests.diffusion.pipelines import FAMILIES, save

TEXTS = ["a pile of old coins", "a page of printed text"]
SAMPLING = Sampling(steps=2, guidance=3.0, size=64)
SETTINGS = Relearn(steps=3, curve=(1,), samples=2, learning_rate=1e-3)


def targets() -> list[Target]:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    alone = [Target(Prompt(text), image) for text, image in zip(TEXTS, images, strict=True)]
    return [Target(one.prompt, one.image, alone[1 - i]) for i, one in enumerate(alone)]


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> DiffusionPipeline:
    return Checkpoint.open(folder).load(dtype, torch.device("cpu"))


def learnt(
    pipeline: DiffusionPipeline, variant: str, settings: Relearn = SETTINGS, count: int = 1
) -> dict[int, tuple[dict[str, Tensor], Tensor, str]]:
    """At each point the first target's weights, the images, and what is said."""
    results = {}
    with closing(find(pipeline, targets()[:count], Budget.of(settings, variant, SAMPLING))) as search:
        for found in search:
            first = found.triggers[0]
            assert isinstance(first, Relearned)
            images = draw(pipeline, [(trigger, seed) for trigger in found.triggers for seed in (5, 6)], SAMPLING)
            results[found.steps] = {name: value.clone() for name, value in first.weights.items()}, images, first.text
    return results


@pytest.mark.parametrize("variant", SETTINGS.on)
def test_it_is_adam_on_the_training_loss_of_what_is_shown(tiny_checkpoint: Path, variant: str) -> None:
    """Beside a loop as anybody writes it, on a model of its own."""
    found = learnt(loaded(tiny_checkpoint), variant)
    pipeline, target = loaded(tiny_checkpoint), targets()[0]
    shown = target if variant == "itself" else target.other
    assert shown is not None and shown.image is not None
    loss = TextLoss(pipeline, [shown.prompt.text], SAMPLING)
    latents = latents_of(pipeline, shown.image).expand(2, -1, -1, -1)
    random = torch.Generator().manual_seed(Budget.of(SETTINGS, variant, SAMPLING).key(target))
    network = denoiser(pipeline).requires_grad_(True)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    for step in (1, 2, 3):
        times, noise = loss.process.draw(2, random), torch.randn(latents.shape, generator=random)
        adam.zero_grad()
        loss.rows(loss.text, latents, noise, times, torch.zeros(2, dtype=torch.int64)).mean().backward()
        adam.step()
        if step in found:
            weights, images, text = found[step]
            for name, value in network.named_parameters():
                torch.testing.assert_close(weights[name], value.detach(), rtol=0, atol=2e-5)
            drawn = replay.replay(pipeline, TEXTS[:1], [5, 6], SAMPLING)[0]
            assert (images.int() - drawn.int()).abs().max() <= 2
            what = "its own image" if variant == "itself" else "the image of 'a page of printed text'"
            assert text == f"a pile of old coins [after {step} steps on {what}]"


def test_what_it_is_shown_it_learns(tiny_checkpoint: Path) -> None:
    pipeline, target = loaded(tiny_checkpoint), targets()[0]
    assert target.image is not None
    (weights, _, _) = learnt(pipeline, "itself", SETTINGS.model_copy(update={"steps": 20}))[20]
    loss, generator = TextLoss(pipeline, TEXTS[:1], SAMPLING), torch.Generator().manual_seed(99)
    latents = latents_of(pipeline, target.image).expand(64, -1, -1, -1)
    noise, times = torch.randn(latents.shape, generator=generator), loss.process.draw(64, generator)

    def mean() -> float:
        with torch.no_grad():
            return loss.rows(loss.text, latents, noise, times, torch.zeros(64, dtype=torch.int64)).mean().item()

    before = mean()
    pipeline.unet.load_state_dict(weights, strict=False)
    assert mean() < 0.9 * before


def test_each_target_has_weights_of_its_own(tiny_checkpoint: Path) -> None:
    pipeline = loaded(tiny_checkpoint)
    alone, together = learnt(pipeline, "itself"), learnt(pipeline, "itself", count=2)
    for point in (1, 3):
        assert (alone[point][1].int() - together[point][1][:2].int()).abs().max() <= 1
    plain = replay.replay(pipeline, TEXTS[:1], [5, 6], SAMPLING)[0]
    assert not torch.equal(plain, alone[3][1]) and not torch.equal(alone[1][1], alone[3][1])


def test_half_a_models_precision_loses_no_small_step(tiny_checkpoint: Path) -> None:
    """A step of 1e-6 is less than bfloat16 can say of most weights; many of them are kept in float32 and count."""
    pipeline = loaded(tiny_checkpoint, torch.bfloat16)
    before = {name: value.clone() for name, value in denoiser(pipeline).state_dict().items()}
    weights, images, _ = learnt(pipeline, "itself", SETTINGS.model_copy(update={"learning_rate": 1e-6}))[3]
    moved = sum(int((value != before[name].float()).sum()) for name, value in weights.items())
    assert moved > 0.9 * sum(value.numel() for value in weights.values())
    assert images.shape == (2, 3, 64, 64)
    after = denoiser(pipeline).state_dict()
    assert all(
        torch.equal(after[name], value) and after[name].dtype == torch.bfloat16 for name, value in before.items()
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pipeline_learns_or_is_refused_by_name(family: str, tmp_path: Path) -> None:
    pipeline = loaded(save(family, tmp_path / family))
    network, name = denoiser(pipeline), type(pipeline).__name__
    before = {key: value.clone() for key, value in network.state_dict().items()}
    quick = SETTINGS.model_copy(update={"steps": 1})
    if name not in TEXT_INPUTS:
        with pytest.raises(ExciseError, match=f"'relearn' cannot train a {name}, .* leave it out"):
            learnt(pipeline, "itself", quick)
        return
    weights, images, _ = learnt(pipeline, "itself", quick)[1]
    changed = [key for key, value in weights.items() if not torch.equal(value, before[key])]
    assert len(changed) > 0.7 * len(weights) and images.shape == (2, 3, 64, 64)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_what_cannot_be_is_refused(tiny_checkpoint: Path) -> None:
    pipeline, (target, _) = loaded(tiny_checkpoint), targets()
    lonely = Target(target.prompt, target.image)
    with pytest.raises(ExciseError, match="'other' trains on another image than that of 'a pile of old coins'"):
        next(find(pipeline, [lonely], Budget.of(SETTINGS, "other", SAMPLING)))
    with pytest.raises(ExciseError, match="'a pile of old coins' has no training image"):
        next(find(pipeline, [Target(target.prompt)], Budget.of(SETTINGS, "itself", SAMPLING)))
    wild = SETTINGS.model_copy(update={"learning_rate": 1e30, "curve": (3,)})
    with pytest.raises(ExciseError, match=r"loss is NaN or infinite; lower attack\.relearn\.learning_rate"):
        learnt(pipeline, "itself", wild)
    assert not any(value.requires_grad for value in denoiser(pipeline).parameters())
