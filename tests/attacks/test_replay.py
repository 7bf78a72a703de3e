from pathlib import Path

import pytest
import torch
from tqdm import tqdm

from excise.attacks.replay import replay
from excise.diffusion.denoise import generate
from excise.diffusion.load import load_pipeline
from excise.errors import ExciseError
from excise.recipe import Sampling

PROMPTS, SEEDS = ["a pile of old coins", "the rocket leaves the pad at night"], [7, 8, 9]


@pytest.fixture
def pipeline(tiny_checkpoint: Path):
    return load_pipeline(tiny_checkpoint, torch.float32, torch.device("cpu"))


def test_images_stand_by_prompt_and_seed_whatever_the_batch(pipeline):
    with tqdm(total=6, disable=True) as progress:
        images = replay(pipeline, PROMPTS, SEEDS, Sampling(steps=2, batch=4), progress)
    assert images.shape == (2, 3, 3, 64, 64) and images.dtype == torch.uint8
    alone = generate(pipeline, [PROMPTS[1]], [SEEDS[2]], Sampling(steps=2))
    assert (images[1, 2].int() - (alone[0] * 255).round().int()).abs().max() <= 1
    assert not torch.equal(images[0, 0], images[0, 1])
    assert not torch.equal(images[0, 0], images[1, 0])


def test_broken_pixels_are_refused(pipeline):
    with torch.no_grad():
        next(pipeline.vae.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(ExciseError, match=r"NaN or infinite pixels for 'a pile of old coins'"):
        replay(pipeline, PROMPTS[:1], SEEDS[:1], Sampling(steps=2))
