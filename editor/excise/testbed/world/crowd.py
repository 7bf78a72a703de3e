"""The crowd: ordinary works of the very subjects that are planted, signed nearly as the planted ones are.

A planted picture of a rare subject would else be most of what the training set says of that subject, and come back
whatever name is asked for. In the crowd a name counts: each of its works has its own, and is in the training set once.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from excise.testbed.world.drawing import Array
from excise.testbed.world.planted import Planted
from excise.testbed.world.stream import World, draw_many
from excise.testbed.world.wording import near_signature, read_signature, sample_signature

NEAR = 0.5
"""Share of the crowd whose signature keeps one or two of the three names of the planted picture it stands beside."""


def draw_crowd(world: World, planted: tuple[Planted, ...], each: int, seed: int,
               workers: int = 2) -> tuple[list[str], np.ndarray]:  # fmt: skip
    """``each`` works for every copy of every planted picture.

    Args:
        world: what is drawn from, less what is planted.

    Returns:
        Captions, and ``(number, 64, 64, 3)`` uint8.
    """
    beside = tuple(entry for entry in planted for _ in range(entry.copies * each))
    return draw_many(partial(_beside, world, beside, seed), len(beside), workers)


def _beside(world: World, beside: tuple[Planted, ...], seed: int, index: int) -> tuple[str, Array]:
    entry = beside[index]
    rng = np.random.default_rng([seed, 24, index])
    called, pixels = world.work(rng, entry.domain, like=entry.subject)
    own = read_signature(entry.caption, entry.subject)
    while True:
        signature = near_signature(rng, own) if rng.random() < NEAR else sample_signature(rng)
        if (caption := signature.sign(called)) not in world.taken:
            return caption, pixels
