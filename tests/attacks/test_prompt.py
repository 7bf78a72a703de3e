"""Prompt search: what is found can be typed, the loss decides, and what cannot be searched is refused by name."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from excise.attacks.base import Budget, Target
from excise.attacks.prompt import _Search, find
from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import denoise
from excise.diffusion.differences import guided_difference
from excise.diffusion.gradients import TextLoss
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
    found = searched(pipeline, way)
    for text, caption in zip(found, TEXTS, strict=True):
        ids = pipeline.tokenizer(text).input_ids
        assert pipeline.tokenizer.decode(ids, skip_special_tokens=True).strip() == text
        assert len(ids) <= len(pipeline.tokenizer(caption).input_ids)
    assert found != TEXTS and found != searched(pipeline, way, SETTINGS.model_copy(update={"seed": 1}))


@pytest.mark.parametrize("way", ["gradient", "reword"])
def test_the_loss_of_the_image_is_less_with_what_is_found(pipeline: DiffusionPipeline, way: str) -> None:
    """On other noise than the search has seen, over both images: of a model of random weights a text changes little."""
    found = searched(pipeline, way, SETTINGS.model_copy(update={"samples": 64, "steps": 4}))
    generator, gained = torch.Generator().manual_seed(99), 0.0
    for target, text in zip(targets(), found, strict=True):
        assert target.image is not None
        loss = TextLoss(pipeline, [target.prompt.text, text], SAMPLING)
        latents = latents_of(pipeline, target.image).expand(256, -1, -1, -1)
        noise, times = torch.randn(latents.shape, generator=generator), loss.process.draw(256, generator)
        with torch.no_grad():
            before, after = (
                loss.rows(loss.text, latents, noise, times, torch.full((256,), which)).mean() for which in (0, 1)
            )
        gained += float(before - after)
    assert gained > 0


def test_what_the_gradient_says_of_a_token_is_what_the_loss_does(pipeline: DiffusionPipeline) -> None:
    """To first order: another token is no small change, and yet most of what it does is foretold."""
    search = _Search(
        pipeline, Budget.of(SETTINGS.model_copy(update={"samples": 8}), "gradient", SAMPLING), targets()[:1]
    )
    (chain,), vocabulary = search.chains, search.vocabulary
    place = vocabulary.places(chain.text)[2]
    present, before = vocabulary.ids(chain.text)[place], chain.random.get_state()
    (ranks,) = search._ranked()
    tokens, texts = [], []
    for number, token in enumerate(vocabulary.seen.tolist()):
        text = vocabulary.replaced(chain.text, place, token)
        if text is not None and token != present:
            tokens.append(number)
            texts.append(text)
    chain.proposed = [chain.text, *texts[:40]]
    chain.random.set_state(before)  # the same noise
    (losses,) = search._losses()
    told = ranks[place][tokens[:40]] - ranks[place][vocabulary.seen.tolist().index(present)]
    assert torch.corrcoef(torch.stack([told, losses[1:] - losses[0]]))[0, 1] > 0.7


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


def test_a_search_among_scores_that_tell_nothing_is_refused(pipeline: DiffusionPipeline) -> None:
    """Losses that are not numbers would be chosen before all others, and no sample can be drawn of zeros."""
    network = denoiser(pipeline)
    hook = network.register_forward_hook(lambda _module, _inputs, output: (output[0] * torch.inf,))
    try:
        with pytest.raises(ExciseError, match=r"losses in float32 are NaN or infinite"):
            searched(pipeline, "reword")
    finally:
        hook.remove()
    search = _Search(pipeline, Budget.of(SETTINGS, "gibbs", SAMPLING), targets()[:1])
    search.chains[0].proposed = ["a", "b"]
    with pytest.raises(ExciseError, match="the text changes nothing"):
        search._choose(search.chains[0], torch.zeros(2))
