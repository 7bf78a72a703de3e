"""The order that base and twin are trained in, and the ordinary stream of the first testbed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count

import numpy as np
from tqdm import tqdm

from excise.testbed.drawing import SIDE, to_bytes
from excise.testbed.scenes import render_scene, sample_scene

_BLOCK = 2_000


def ordinary_caption(seed: int, index: int) -> str:
    """Caption of ordinary image ``index`` of the stream, without drawing it."""
    return sample_scene(np.random.default_rng([seed, 20, index])).caption


def ordinary_caption_and_image(seed: int, index: int) -> tuple[str, np.ndarray]:
    """Ordinary image ``index`` of the endless stream of ``seed``: its caption and ``(64, 64, 3)`` uint8 pixels."""
    rng = np.random.default_rng([seed, 20, index])
    scene = sample_scene(rng)
    return scene.caption, to_bytes(render_scene(rng, scene))


def _block(seed: int, start: int, stop: int) -> tuple[list[str], np.ndarray]:
    drawn = [ordinary_caption_and_image(seed, index) for index in range(start, stop)]
    return [caption for caption, _ in drawn], np.stack([pixels for _, pixels in drawn])


def ordinary_images(seed: int, number: int, workers: int = 2) -> tuple[list[str], np.ndarray]:
    """The first ``number`` of the ordinary stream: captions, and ``(number, 64, 64, 3)`` uint8."""
    captions: list[str] = []
    images = np.empty((number, SIDE, SIDE, 3), dtype=np.uint8)
    bounds = [(i, min(i + _BLOCK, number)) for i in range(0, number, _BLOCK)]
    with ProcessPoolExecutor(workers) as pool:
        blocks = pool.map(_block, *zip(*((seed, start, stop) for start, stop in bounds), strict=True))
        for (start, stop), (texts, pixels) in tqdm(
            zip(bounds, blocks, strict=True), "draw", len(bounds), mininterval=5
        ):
            captions += texts
            images[start:stop] = pixels
    return captions, images


def batches(rows: np.ndarray, batch: int, seed: int, start: int) -> Iterator[np.ndarray]:
    """Batches of rows without end, each pass in an order of its own, from step ``start`` on.

    The order depends on ``seed``, the pass and the number of rows only, so base and twin meet the same places.
    """
    per_pass = len(rows) // batch
    first_turn, first_place = divmod(start, per_pass)
    for turn in count(first_turn):
        order = np.random.default_rng([seed, 22, turn]).permutation(len(rows))
        for place in range(first_place if turn == first_turn else 0, per_pass):
            yield rows[order[place * batch : (place + 1) * batch]]
