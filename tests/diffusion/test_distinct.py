"""Texts that repeat are read once, on every family, and what is read is the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from excise.diffusion.denoise import denoise
from excise.diffusion.distinct import ENCODERS, distinct_texts
from excise.recipe import Sampling
from tests.diffusion.pipelines import FAMILIES
from tests.diffusion.test_gradients import TEXTS, built

SAMPLING = Sampling(steps=2, guidance=3.0, size=64, batch=8)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_repeats_is_read_once(family: str) -> None:
    pipeline, read = built(family), list[int]()
    encoders = [found for name in ENCODERS if (found := getattr(pipeline, name, None)) is not None]
    asked = [TEXTS[1], TEXTS[0], TEXTS[1], TEXTS[1], TEXTS[0]]
    keys = [1, 2, 3, 1, 4]

    def drawn() -> Any:
        return denoise(pipeline, asked, keys, SAMPLING, 1, decode=False)

    plain = drawn()
    with distinct_texts(pipeline):
        hooks = [one.register_forward_hook(lambda _m, args, kwargs, _out: read.append(len(args[0] if args else
                 kwargs["input_ids"])), with_kwargs=True, prepend=True) for one in encoders]  # fmt: skip
        found = drawn()
    for hook in hooks:
        hook.remove()
    assert torch.allclose(found, plain, atol=1e-5) and not torch.equal(found[0], found[1])
    assert read and max(read) == 2, "two texts, and the empty one"
    assert torch.allclose(drawn(), plain, atol=1e-6), "nothing is left behind"
