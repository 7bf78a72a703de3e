"""Embeddings moved until the text adds little: each image by itself, counted, and drawn with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import generate, noise_key
from excise.diffusion.guided import GuidedCall
from excise.mitigations import Mitigating
from excise.mitigations.embedding import calmed, draw
from excise.recipe import Sampling

TEXTS = ["a pile of old coins", "a page of printed text", "phone case with a leaf"]
KEYS = [noise_key(text, 0) for text in TEXTS]
SAMPLING = Sampling(steps=2, guidance=3.0, size=64)


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> DiffusionPipeline:
    return Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))


def lengths(pipeline: DiffusionPipeline, told: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    with torch.no_grad():
        return GuidedCall(pipeline, TEXTS, KEYS, SAMPLING).difference(told).flatten(1).norm(dim=1)


@pytest.fixture(scope="module")
def settings(pipeline: DiffusionPipeline) -> Mitigating:
    """A target that one of the three is at already."""
    return Mitigating(SAMPLING, target=float(lengths(pipeline).min()) * 1.0001, iterations=20, rate=0.2)


def test_each_image_stops_at_the_target_and_pays_for_itself(pipeline: DiffusionPipeline, settings: Mitigating) -> None:
    before = lengths(pipeline)
    told, spent = calmed(pipeline, TEXTS, KEYS, settings)
    after, least = lengths(pipeline, told), int(before.argmin())
    assert bool((after <= settings.target).all()) and float(before.max()) > settings.target
    assert spent[least].tolist() == [2, 0], "one call to look at, one to measure"
    original = GuidedCall(pipeline, TEXTS, KEYS, SAMPLING).text["encoder_hidden_states"]
    moved = told["encoder_hidden_states"]
    assert torch.equal(moved[least], original[least]) and torch.equal(moved[:, 0], original[:, 0])
    for place in {0, 1, 2} - {least}:
        calls, gradients = spent[place].tolist()
        assert 1 <= gradients <= 20 and calls == gradients + 2
        alone, own = calmed(pipeline, [TEXTS[place]], [KEYS[place]], settings)
        assert own[0].tolist() == [calls, gradients], "the others of a batch change nothing"
        assert torch.allclose(alone["encoder_hidden_states"][0], moved[place], atol=1e-3)


def test_what_is_drawn_is_what_was_told_at_the_cost_that_is_said(
    pipeline: DiffusionPipeline, settings: Mitigating
) -> None:
    made, plain = draw(pipeline, TEXTS, [0, 0, 0], settings), generate(pipeline, TEXTS, [0, 0, 0], SAMPLING)
    _, spent = calmed(pipeline, TEXTS, KEYS, settings)
    assert (
        made.calls.tolist() == (SAMPLING.steps + spent[:, 0]).tolist()
        and made.gradients.tolist() == spent[:, 1].tolist()
    )
    far = (made.images.float() / 255.0 - plain).abs().flatten(1).amax(dim=1)
    least = int(lengths(pipeline).argmin())
    assert far[least] < 0.01 and all(far[place] > 0.01 for place in {0, 1, 2} - {least})


def test_a_budget_of_steps_is_kept(pipeline: DiffusionPipeline, settings: Mitigating) -> None:
    _, spent = calmed(pipeline, TEXTS, KEYS, replace(settings, target=0.0, iterations=2))
    assert spent.tolist() == [[4, 2]] * 3
