"""Mixtures of tokens: one-hot ones are texts, to the encoders of every family, and errors of latents are just that."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from excise.diffusion.process import Process
from excise.diffusion.relaxed import Alphabet, Reader
from excise.diffusion.text_inputs import TEXT_INPUTS
from excise.diffusion.tokens import ENCODED, alphabets
from excise.errors import ExciseError
from tests.diffusion.test_gradients import built

FAMILIES = ("sd14", "sdxl", "sd3", "flux", "pixart")
TOKENS = 5


def other_text(alphabet: Alphabet) -> tuple[str, torch.Tensor]:
    """A text of as many tokens as are mixed, two of them not the filler's, and its mixture ``(tokens, choices)``."""
    vocabulary, text, changed = alphabet.vocabulary, alphabet.text, 0
    for token in vocabulary.seen.flip(0).tolist():
        if changed < 2 and (made := vocabulary.replaced(text, alphabet.places[-1 - 2 * changed], token)) is not None:
            text, changed = made, changed + 1
    ids = vocabulary.ids(text)
    own = torch.tensor([ids[place] for place in vocabulary.places(text)])
    assert changed == 2 and len(own) == TOKENS and len(own.unique()) > 1
    return text, (own[:, None] == vocabulary.seen).float()


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_themselves_are_read_as_their_text_is(family: str) -> None:
    pipeline: Any = built(family)
    reader, ends = Reader(pipeline, TOKENS), alphabets(pipeline)
    texts = [other_text(one) for one in reader.alphabets]
    assert reader.shapes() == [tuple(mixture.shape) for _, mixture in texts]
    found = reader.told([torch.stack([mixture, mixture]) for _, mixture in texts])
    asked = {f"prompt{end}": text for same, (text, _) in zip(ends, texts, strict=True) for end in same}
    known = inspect.signature(pipeline.encode_prompt).parameters
    plain = {"do_classifier_free_guidance": False} if "do_classifier_free_guidance" in known else {}
    given = pipeline.encode_prompt(**asked, device="cpu", num_images_per_prompt=1, **plain)
    name = type(pipeline).__name__
    for key, place in zip(TEXT_INPUTS[name], ENCODED[name], strict=True):
        assert torch.allclose(found[key], given[place].expand_as(found[key]), atol=1e-5), key
    even = [torch.full_like(mixture, 1 / mixture.shape[1])[None] for _, mixture in texts]
    assert not torch.allclose(reader.told(even)[key], given[place], atol=1e-3)


def test_as_many_tokens_are_mixed_as_are_read_and_no_more() -> None:
    pipeline = built("sd14")
    assert Reader(pipeline).tokens == 22  # of 24, two are start and end
    with pytest.raises(ExciseError, match=r"--tokens 23: .* read 22 at most"):
        Reader(pipeline, 23)


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample", "flow"])
def test_an_error_of_what_is_said_is_weighed_as_one_of_latents(predicts: str) -> None:
    """Of latents that are worked out of a wrong prediction, and compared with the right ones."""
    scheduler = FlowMatchEulerDiscreteScheduler() if predicts == "flow" else DDIMScheduler(prediction_type=predicts)
    process, own = Process.of(scheduler), torch.Generator().manual_seed(0)
    latents, noise, wrong = (torch.randn(6, 4, 8, 8, generator=own, dtype=torch.float64) for _ in range(3))
    times = process.draw(6, own)
    shown, target = process.task(latents, noise, times)
    said = target + 0.1 * wrong
    kept, spread = (scale.double().view(-1, 1, 1, 1) for scale in process.scales(times))
    made = {
        "epsilon": lambda: (shown - spread * said) / kept,
        "v_prediction": lambda: kept * shown - spread * said,
        "sample": lambda: said,
        "flow": lambda: shown - spread * said,
    }[predicts]()
    errors = (said - target).square().flatten(1).mean(dim=1) * process.in_latents(times)
    assert torch.allclose(errors, (made - latents).square().flatten(1).mean(dim=1))
