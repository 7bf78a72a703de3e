"""Denoising: the pipeline's own loop, noise of prompt and seed alone, and batches that fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, EulerAncestralDiscreteScheduler, PNDMScheduler

from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import calls_of, denoise, generate, in_batches, noise_key
from excise.errors import ExciseError
from excise.recipe import Sampling

SAMPLING = Sampling(steps=3, batch=4)
TEXTS = ["a red circle", "a blue square", "", "carpet sample number one"]


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> DiffusionPipeline:
    return Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))


def test_noise_belongs_to_text_and_seed() -> None:
    keys = [noise_key(text, seed) for text in TEXTS for seed in (0, 1, 10)]
    assert len(set(keys)) == len(keys) and all(0 <= key < 2**63 for key in keys)
    assert noise_key("a red circle", 0) == 2207905846492513592


def test_images_are_those_of_the_pipeline_itself(pipeline: DiffusionPipeline) -> None:
    images = denoise(pipeline, TEXTS, range(4), SAMPLING)
    noise = [torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(key)) for key in range(4)]
    expected = pipeline(
        TEXTS, num_inference_steps=3, guidance_scale=7.5, latents=torch.stack(noise), output_type="pt"
    ).images
    assert images.shape == (4, 3, 64, 64) and images.min() >= 0 and images.max() <= 1
    assert torch.equal(images, expected)


def test_stops_after_the_calls_asked_for(pipeline: DiffusionPipeline) -> None:
    counted: list[int] = []
    handle = pipeline.unet.register_forward_pre_hook(lambda *_: counted.append(1))
    seen: list[int] = []
    part = denoise(pipeline, TEXTS, range(4), SAMPLING, calls=2, on_call=seen.append, decode=False)
    assert (len(counted), seen) == (2, [0, 1])
    whole = denoise(pipeline, TEXTS, range(4), SAMPLING, on_call=seen.append, decode=False)
    handle.remove()
    assert (len(counted), seen[2:]) == (5, [0, 1, 2])
    assert part.shape == whole.shape == (4, 4, 8, 8) and not torch.equal(part, whole)


def test_size_is_the_recipes_where_it_is_given(pipeline: DiffusionPipeline) -> None:
    images = denoise(pipeline, TEXTS[:1], [0], Sampling(steps=1, size=32))
    assert images.shape == (1, 3, 32, 32)


def test_batch_size_changes_nothing_but_rounding(pipeline: DiffusionPipeline) -> None:
    texts, seeds = TEXTS * 2, [0] * 4 + [1] * 4
    one, five = (generate(pipeline, texts, seeds, Sampling(steps=3, batch=batch)) for batch in (1, 5))
    torch.testing.assert_close(one, five, rtol=0, atol=1e-5)
    assert (one[0] - one[4]).abs().max() > 0.01


def test_schedulers_that_add_noise_are_as_independent_of_the_batch(pipeline: DiffusionPipeline) -> None:
    before = pipeline.scheduler
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(before.config)
    try:
        one, three = (generate(pipeline, TEXTS, [5] * 4, Sampling(steps=3, batch=batch)) for batch in (1, 3))
        torch.manual_seed(99)
        again = generate(pipeline, TEXTS, [5] * 4, Sampling(steps=3, batch=3))
    finally:
        pipeline.scheduler = before
    torch.testing.assert_close(one, three, rtol=0, atol=1e-5)
    assert torch.equal(three, again)


def test_calls_are_counted_as_the_scheduler_makes_them(pipeline: DiffusionPipeline) -> None:
    before = pipeline.scheduler
    assert calls_of(pipeline.scheduler, Sampling(steps=50)) == 50
    pipeline.scheduler = PNDMScheduler.from_config(before.config, skip_prk_steps=True)
    try:
        assert calls_of(pipeline.scheduler, Sampling(steps=50)) == 51
    finally:
        pipeline.scheduler = before


def test_a_batch_that_does_not_fit_is_halved_and_the_smaller_size_kept(pipeline: DiffusionPipeline) -> None:
    rows: list[int] = []

    def limited(_module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        rows.append(len(inputs[0]))
        if len(inputs[0]) > 4:
            raise torch.OutOfMemoryError

    expected = generate(pipeline, TEXTS, [0] * 4, Sampling(steps=1, batch=2))
    handle = pipeline.unet.register_forward_pre_hook(limited)
    try:
        found = generate(pipeline, TEXTS, [0] * 4, Sampling(steps=1, batch=4))
    finally:
        handle.remove()
    assert rows == [8, 4, 4]  # two rows an image under guidance
    assert torch.equal(found, expected)


def test_one_item_that_does_not_fit_is_explained() -> None:
    def work(start: int, stop: int) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(ExciseError, match="not enough memory even for one image"):
        list(in_batches(work, [0] * 5, 4))
