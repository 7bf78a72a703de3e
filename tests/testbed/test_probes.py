from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline

from excise.diffusion.patching import patched
from excise.diffusion.sites import find_sites
from excise.recipe import Sampling
from excise.testbed.probes import FAMILIES, ffn_activations, knock_out, text_states
from tests.conftest import build_tiny_pipeline

SAMPLING = Sampling(steps=3, guidance=3.0, batch=2)
CAPTIONS = ["a tabby cat looks at the camera", "a pile of old coins", "a tabby cat looks at the camera"]


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionPipeline:
    found = build_tiny_pipeline(0)
    found.set_progress_bar_config(disable=True)
    return found


def test_equal_captions_have_equal_states_and_others_do_not(pipeline: StableDiffusionPipeline) -> None:
    states = text_states(pipeline, CAPTIONS)
    assert torch.allclose(states[0], states[2], atol=1e-6) and not torch.allclose(states[0], states[1], atol=1e-3)


def test_activations_are_those_of_the_conditional_rows_of_every_site(pipeline: StableDiffusionPipeline) -> None:
    found = ffn_activations(pipeline, CAPTIONS, SAMPLING)
    assert found.shape == (3, sum(site.neurons for site in find_sites(pipeline.unet, "ffn")))
    assert torch.allclose(found[0], found[2], atol=1e-5) and not torch.allclose(found[0], found[1], atol=1e-4)
    assert not torch.allclose(found[1], ffn_activations(pipeline, [""], SAMPLING)[0], atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_knocked_out_and_nothing_else(pipeline: StableDiffusionPipeline, family: str) -> None:
    changes = knock_out(pipeline.unet, family)
    before = {name: weight.clone() for name, weight in pipeline.unet.named_parameters()}
    assert changes and not any(set(changes) & set(knock_out(pipeline.unet, other)) for other in {*FAMILIES} - {family})
    with patched(pipeline.unet, changes):
        for name, weight in pipeline.unet.named_parameters():
            assert not weight.any() if name in changes else torch.equal(weight, before[name])
