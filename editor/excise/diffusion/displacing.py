"""Latents moved aside: there a model that knows an image by heart does not know it, and tells it as any other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WAYS = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Down and to the right, in steps: right, left, down, up."""


def displaced(latents: Tensor, ways: Tensor, back: bool = False) -> Tensor:
    """Each row moved by a fifth of its side; what leaves at one edge comes in at the other.

    Args:
        latents: ``(rows, channels, height, width)``, or tokens of a square ``(rows, side * side, channels)``.
        ways: numbers of `WAYS`, ``(rows,)``.
        back: undo it.
    """
    tokens = latents.dim() == 3
    side = math.isqrt(latents.shape[1]) if tokens else latents.shape[-1]
    grid = latents.unflatten(1, (side, side)) if tokens else latents
    axes = (0, 1) if tokens else (1, 2)
    step = max(1, round(side / 5)) * (-1 if back else 1)
    shifts = [tuple(step * number for number in WAYS[way]) for way in ways.tolist()]
    moved = torch.stack([row.roll(shift, axes) for row, shift in zip(grid, shifts, strict=True)])
    return moved.flatten(1, 2) if tokens else moved
