"""How far an edit moves ordinary images, measured in steps from one seed to another."""

from __future__ import annotations

import torch
from torch import Tensor


def seed_distances(images: Tensor) -> Tensor:
    """Mean root mean square distance between two seeds of one prompt.

    Args:
        images: float (prompts, seeds, 3, height, width) in [0, 1], at least two seeds.

    Returns:
        float32 (prompts,).

    Raises:
        ValueError: fewer than two seeds.
    """
    seeds = images.shape[1]
    if seeds < 2:
        raise ValueError("the distance between seeds needs at least two")
    first, second = torch.triu_indices(seeds, seeds, offset=1)
    return _rms(images[:, first], images[:, second]).mean(dim=1)


def edit_distances(images: Tensor, base: Tensor) -> Tensor:
    """Mean root mean square distance from an edited model's image to the base's of the same prompt and seed.

    Args:
        images, base: float (prompts, seeds, 3, height, width) in [0, 1].

    Returns:
        float32 (prompts,).
    """
    return _rms(images, base).mean(dim=1)


def _rms(a: Tensor, b: Tensor) -> Tensor:
    return (a.float() - b.float()).square().mean(dim=(-3, -2, -1)).sqrt()
