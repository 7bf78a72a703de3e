"""Tokens of prompts: what is found can be typed, and gradients at embeddings are those of what the denoiser is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from excise.diffusion.text_inputs import TEXT_INPUTS, seen_call
from excise.diffusion.tokens import ENCODED, Vocabulary, embeddings_of, token_gradients
from excise.errors import ExciseError
from excise.recipe import Sampling
from tests.diffusion.pipelines import FAMILIES

TEXT = "a pile of old coins"
SAMPLING = Sampling(steps=2, size=64)


def built(family: str) -> DiffusionPipeline:
    """The family's pipeline in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = FAMILIES[family]()
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(torch.float64)


SEARCHED = ("sd14", "sdxl", "sd3", "flux", "pixart")


@pytest.mark.parametrize("family", SEARCHED)
def test_a_word_at_any_place_is_typed_or_refused(family: str) -> None:
    pipeline = built(family)
    vocabulary = Vocabulary(pipeline)
    tokenizer: Any = pipeline.tokenizer
    ids, special = vocabulary.ids(TEXT), set(tokenizer.all_special_ids)
    assert len(vocabulary.seen) > 20 and not special & set(vocabulary.seen.tolist())
    assert [ids[place] for place in vocabulary.places(TEXT)] == tokenizer(TEXT, add_special_tokens=False).input_ids
    typed = 0
    for place in vocabulary.places(TEXT):
        for token in vocabulary.seen[:: max(1, len(vocabulary.seen) // 20)].tolist():
            found = vocabulary.replaced(TEXT, place, token)
            if found is not None:
                typed += 1
                assert tokenizer(found).input_ids == [*ids[:place], token, *ids[place + 1 :]]
    assert typed > 20


def test_a_piece_that_joins_what_follows_makes_no_text_that_can_be_typed() -> None:
    pipeline = built("sd14")
    vocabulary, tokenizer = Vocabulary(pipeline), pipeline.tokenizer
    pieces = tokenizer.get_vocab()
    assert tokenizer("a red circle", add_special_tokens=False).input_ids[1] == pieces["red</w>"]
    place = vocabulary.places("a red circle")[1]
    assert vocabulary.replaced("a red circle", place, pieces["a</w>"]) == "a a circle"
    assert vocabulary.replaced("a red circle", place, pieces["a"]) is None  # "a acircle" is other tokens


@pytest.mark.parametrize("family", SEARCHED)
def test_gradients_are_those_of_finite_differences_through_the_pipelines_own_call(family: str) -> None:
    pipeline, generator = built(family), torch.Generator().manual_seed(1)
    told = seen_call(pipeline, TEXT, SAMPLING)
    names = TEXT_INPUTS[type(pipeline).__name__]
    wanted = {name: torch.randn(told[name].shape, generator=generator, dtype=torch.float64) for name in names}
    found = token_gradients(pipeline, [TEXT], wanted)
    layers = embeddings_of(pipeline)
    assert len(found) == len(layers) == (2 if family in ("sdxl", "sd3") else 1)
    for layer, gradient in zip(layers, found, strict=True):
        along = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        step = 1e-4

        def moved(sign: float, layer: nn.Module = layer, along: Tensor = along, step: float = step) -> Tensor:
            hook = layer.register_forward_hook(lambda _l, _i, output: output + sign * step * along)
            try:
                told = seen_call(pipeline, TEXT, SAMPLING)
            finally:
                hook.remove()
            return sum((wanted[name] * told[name]).sum() for name in names) / (2 * step)  # type: ignore[return-value]

        expected = (moved(1.0) - moved(-1.0)).item()
        assert (gradient.double() * along).sum().item() == pytest.approx(expected, rel=5e-3, abs=1e-4)
        assert not layer._forward_hooks


def test_what_is_not_searched_is_refused_by_name() -> None:
    for family in FAMILIES.keys() - SEARCHED:
        pipeline = built(family)
        assert type(pipeline).__name__ not in ENCODED
        with pytest.raises(ExciseError, match=f"'prompt' cannot attack a {type(pipeline).__name__}, .* leave it out"):
            Vocabulary(pipeline)


def test_places_are_those_that_the_encoder_reads() -> None:
    """PixArt's pipeline reads fewer tokens than its tokenizer gives: what is behind them has no gradient."""
    pipeline = built("pixart")
    pipeline.tokenizer.model_max_length = 512
    vocabulary = Vocabulary(pipeline)
    assert len(vocabulary.ids("a " * 200)) == 120 and max(vocabulary.places("a " * 200)) < 120
