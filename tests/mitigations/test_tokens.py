"""Random tokens: texts that can be typed, of each image its own, drawn from the noise of the plain image."""

from __future__ import annotations

from pathlib import Path

import torch

from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import generate
from excise.diffusion.tokens import Vocabulary
from excise.mitigations import Mitigating
from excise.mitigations.tokens import draw
from excise.recipe import Sampling

TEXT = "a pile of old coins"


def test_an_image_has_random_tokens_of_its_own_and_the_noise_of_its_prompt(tiny_checkpoint: Path) -> None:
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    vocabulary, sampling = Vocabulary(pipeline), Sampling(steps=2, guidance=3.0, size=64)
    made = draw(pipeline, [TEXT, TEXT], [0, 1], Mitigating(sampling, tokens=3))
    own = [vocabulary.ids(TEXT)[place] for place in vocabulary.places(TEXT)]
    for told in made.told:
        ids = [vocabulary.ids(told)[place] for place in vocabulary.places(told)]
        assert len(ids) == len(own) + 3
        rest = iter(ids)
        assert all(token in rest for token in own), "what was asked for stays, in order"
    assert made.told[0] != made.told[1]
    expected = generate(pipeline, made.told, [0, 1], sampling, targets=[TEXT, TEXT])
    assert torch.equal(made.images, (255 * expected).round().byte())
    assert made.calls.tolist() == [2, 2] and made.gradients.tolist() == [0, 0]
