"""Moving latents aside loses nothing, and moves tokens as the pictures that they are of."""

from __future__ import annotations

from typing import Any

import torch

from excise.diffusion.displacing import WAYS, displaced
from tests.diffusion.test_gradients import built


def test_each_row_goes_its_way_and_comes_back() -> None:
    latents, ways = torch.randn(5, 3, 16, 16), torch.tensor([0, 1, 2, 3, 2])
    moved = displaced(latents, ways)
    assert torch.equal(moved[0, :, :, 3:], latents[0, :, :, :-3]), "to the right, by a fifth of the side"
    assert torch.equal(moved[1, :, :, :-3], latents[1, :, :, 3:]) and torch.equal(moved[2, :, 3:], latents[2, :, :-3])
    assert torch.equal(moved[3, :, -3:], latents[3, :, :3]), "what leaves at one edge comes in at the other"
    assert torch.equal(displaced(moved, ways, back=True), latents)
    assert len(WAYS) == 4 and not torch.equal(displaced(torch.randn(1, 1, 2, 2), ways[:1]), latents[:1, :1, :2, :2])


def test_tokens_move_as_the_latents_that_they_pack() -> None:
    pipeline: Any = built("flux")
    latents, ways = torch.randn(4, 4, 20, 20), torch.arange(4)
    packed = pipeline._pack_latents(latents, *latents.shape)
    found = displaced(packed, ways)
    wide = torch.stack(
        [row.roll((4 * down, 4 * right), (1, 2)) for row, (down, right) in zip(latents, WAYS, strict=True)]
    )
    assert torch.equal(found, pipeline._pack_latents(wide, *wide.shape))
