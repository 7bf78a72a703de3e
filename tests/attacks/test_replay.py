"""Replay: the caption itself, at many seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from tqdm import tqdm

from excise.attacks.base import Budget, Found, Target, Trigger
from excise.attacks.replay import draw, find, replay
from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import generate
from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.recipe import Sampling

PROMPTS, SEEDS = ["a pile of old coins", "the rocket leaves the pad at night"], [7, 8, 9]


@pytest.fixture
def pipeline(tiny_checkpoint: Path) -> DiffusionPipeline:
    return Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))


def test_the_trigger_is_the_caption_whatever_the_budget(pipeline: DiffusionPipeline) -> None:
    targets = [Target(Prompt(text)) for text in PROMPTS]
    triggers = [Trigger(target.prompt, target.prompt.text) for target in targets]
    assert list(find(pipeline, targets, Budget())) == [Found(0, triggers)]
    assert list(find(pipeline, targets, Budget((1, 50)))) == [Found(1, triggers), Found(50, triggers)]


def test_images_stand_by_prompt_and_seed_whatever_the_batch(pipeline: DiffusionPipeline) -> None:
    with tqdm(total=6, disable=True) as progress:
        images = replay(pipeline, PROMPTS, SEEDS, Sampling(steps=2, batch=4), progress)
    assert images.shape == (2, 3, 3, 64, 64) and images.dtype == torch.uint8
    alone = generate(pipeline, [PROMPTS[1]], [SEEDS[2]], Sampling(steps=2))
    assert (images[1, 2].int() - (alone[0] * 255).round().int()).abs().max() <= 1
    assert not torch.equal(images[0, 0], images[0, 1])
    assert not torch.equal(images[0, 0], images[1, 0])


def test_broken_pixels_are_refused(pipeline: DiffusionPipeline) -> None:
    with torch.no_grad():
        next(pipeline.vae.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(
        ExciseError, match=r"vae: NaN or infinite pixels in float32, of latents .* for 'a pile of old c"
    ):
        replay(pipeline, PROMPTS[:1], SEEDS[:1], Sampling(steps=2))


def test_the_prompt_whose_pixels_are_broken_is_named(pipeline: DiffusionPipeline) -> None:
    """Of a batch, only what holds a word whose embedding is broken."""
    own, others = (set(pipeline.tokenizer(text).input_ids) for text in reversed(PROMPTS))
    with torch.no_grad():
        for token in own - others - set(pipeline.tokenizer("").input_ids):
            pipeline.text_encoder.get_input_embeddings().weight[token] = torch.nan
    triggers = [Trigger(Prompt(text), text) for text in PROMPTS]
    sampling = Sampling(steps=2, batch=4)
    with pytest.raises(ExciseError, match=r"^denoiser or .* NaN or infinite latents in float32 for 'the rocket leaves"):
        draw(pipeline, [(trigger, seed) for trigger in triggers for seed in SEEDS[:2]], sampling)
    assert draw(pipeline, [(triggers[0], 7)], sampling).shape == (1, 3, 64, 64)
