"""Prompt search: what is found can be typed, the loss decides, and what cannot be searched is refused by name."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from excise.attacks.base import Budget, Target
from excise.attacks.prompt import find
from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import denoise
from excise.diffusion.gradients import TextLoss
from excise.diffusion.guided import guided_difference
from excise.diffusion.latents import latents_of
from excise.diffusion.load import denoiser
from excise.diffusion.tokens import ENCODED, Vocabulary
from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.recipe import PromptSearch, Sampling
from tests.diffusion.pipelines import FAMILIES, save

TEXTS = ["a pile of old coins", "a page of printed text"]
SAMPLING = Sampling(steps=2, guidance=3.0, size=64)
SETTINGS = PromptSearch(steps=3, curve=(1,), proposals=4, samples=2)


def targets(images: bool = True) -> list[Target]:
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return [Target(Prompt(text), image if images else None) for text, image in zip(TEXTS, pictures, strict=True)]


def searched(
    pipeline: DiffusionPipeline, way: str, settings: PromptSearch = SETTINGS, images: bool = True
) -> list[str]:
    """The texts at the end."""
    texts: list[str] = []
    with closing(find(pipeline, targets(images), Budget.of(settings, way, SAMPLING))) as search:
        for found in search:
            texts = [trigger.text for trigger in found.triggers]
    return texts


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> DiffusionPipeline:
    return Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("way", SETTINGS.ways)
def test_what_is_found_is_another_text_that_can_be_typed(pipeline: DiffusionPipeline, way: str) -> None:
    settings = SETTINGS.model_copy(update={"steps": 6})
    for text, caption in zip(searched(pipeline, way, settings), TEXTS, strict=True):
        ids = pipeline.tokenizer(text).input_ids
        assert pipeline.tokenizer.decode(ids, skip_special_tokens=True).strip() == text
        assert text != caption and len(ids) <= len(pipeline.tokenizer(caption).input_ids)
    again = settings.model_copy(update={"seed": 1})
    assert searched(pipeline, way, settings) == searched(pipeline, way, settings) != searched(pipeline, way, again)


@pytest.mark.parametrize("way", ["gradient", "reword"])
def test_the_loss_of_the_image_is_less_with_what_is_found(pipeline: DiffusionPipeline, way: str) -> None:
    """On other noise than the search has seen."""
    found = searched(pipeline, way, SETTINGS.model_copy(update={"samples": 32, "steps": 4}))
    generator = torch.Generator().manual_seed(99)
    for target, text in zip(targets(), found, strict=True):
        assert target.image is not None
        loss = TextLoss(pipeline, [target.prompt.text, text], SAMPLING)
        latents = latents_of(pipeline, target.image).expand(128, -1, -1, -1)
        noise, times = torch.randn(latents.shape, generator=generator), loss.process.draw(128, generator)
        with torch.no_grad():
            before, after = (
                loss.rows(loss.text, latents, noise, times, torch.full((128,), which)).mean() for which in (0, 1)
            )
        assert after < before


def test_the_gradients_ranks_are_to_first_order_what_the_loss_does(pipeline: DiffusionPipeline) -> None:
    """A search that takes the first of the ranks does better than one that takes the last."""
    from excise.attacks import prompt

    first = searched(pipeline, "gradient", SETTINGS.model_copy(update={"samples": 32, "proposals": 1, "steps": 6}))
    with pytest.MonkeyPatch.context() as patch:
        ranked = prompt._Search._ranked
        patch.setattr(prompt._Search, "_ranked", lambda self: [-ranks for ranks in ranked(self)])
        last = searched(pipeline, "gradient", SETTINGS.model_copy(update={"samples": 32, "proposals": 1, "steps": 6}))
    changed = [sum(text != caption for text, caption in zip(found, TEXTS, strict=True)) for found in (first, last)]
    assert first != last and changed[0] >= changed[1]


def test_a_prompts_difference_is_that_of_two_calls_without_guidance(pipeline: DiffusionPipeline) -> None:
    outputs = []
    hook = denoiser(pipeline).register_forward_hook(lambda _n, _i, output: outputs.append(output[0]))
    try:
        for text in (TEXTS[0], ""):
            denoise(pipeline, [text], [7], SAMPLING.model_copy(update={"guidance": 1.0}), calls=1, decode=False)
    finally:
        hook.remove()
    expected = (outputs[0] - outputs[1]).square().mean()
    found = guided_difference(pipeline, [TEXTS[1], TEXTS[0]], [3, 7], SAMPLING)
    assert found.shape == (2,) and found[1].item() == pytest.approx(expected.item(), rel=1e-4)


def test_gibbs_goes_where_the_prompt_moves_the_model_most_and_needs_no_image(pipeline: DiffusionPipeline) -> None:
    settings = SETTINGS.model_copy(update={"samples": 4, "steps": 6})
    found = searched(pipeline, "gibbs", settings, images=False)
    keys = list(range(16))
    for text, caption in zip(found, TEXTS, strict=True):
        before, after = (guided_difference(pipeline, [asked] * 16, keys, SAMPLING).mean() for asked in (caption, text))
        assert after > before
    with pytest.raises(ExciseError, match="'a pile of old coins' has no training image to search for"):
        searched(pipeline, "reword", images=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pipeline_is_searched_or_refused_by_name(family: str, tmp_path: Path) -> None:
    pipeline = Checkpoint.open(save(family, tmp_path / family)).load(torch.float32, torch.device("cpu"))
    name, quick = type(pipeline).__name__, SETTINGS.model_copy(update={"steps": 1})
    if name not in ENCODED:
        with pytest.raises(ExciseError, match=f"'prompt' cannot attack a {name}, .* leave it out"):
            searched(pipeline, "gibbs", quick)
        return
    if name == "FluxPipeline":
        with pytest.raises(ExciseError, match=r"'gibbs' compares .* a FluxPipeline, .* leave 'gibbs' out"):
            searched(pipeline, "gibbs", quick)
    vocabulary = Vocabulary(pipeline)
    for way in ("gradient", "gibbs") if name != "FluxPipeline" else ("gradient",):
        for text, caption in zip(searched(pipeline, way, quick), TEXTS, strict=True):
            assert len(vocabulary.ids(text)) == len(vocabulary.ids(caption))
