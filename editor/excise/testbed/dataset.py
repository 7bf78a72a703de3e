"""The training set of the base and its counterfactual, as latents and captions, and the order they are trained in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from tqdm import tqdm

from excise.errors import ExciseError
from excise.testbed.checkpointing import read_tree, write_tree
from excise.testbed.codec import encode_images
from excise.testbed.drawing import SIDE, to_bytes
from excise.testbed.planting import Planted, read_image, redraw_varying_part
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


@dataclass(frozen=True)
class Corpus:
    """Latents by row, and which rows the base and the twin see.

    Both orders have the same length and agree in every ordinary place; in the others the base has a planted image
    and the twin an ordinary one of its own.
    """

    latents: torch.Tensor
    """``(rows, channels, h, w)`` float16."""
    captions: list[str]
    base: np.ndarray
    """Rows of one pass of the base, int64; an image with n copies is in it n times."""
    twin: np.ndarray
    ordinary: int
    """The first so many rows are the ordinary images; the trunk is trained on them alone."""


def build_corpus(planted: tuple[Planted, ...], folder: Path, ordinary: int, seed: int, codec: AutoencoderKL,
                 device: torch.device) -> Corpus:  # fmt: skip
    """Draw, encode and lay out the training set.

    Args:
        planted: the planted table's rows; those with copies are trained on.
        folder: where the table's images lie.
    """
    trained = [entry for entry in planted if entry.copies]
    slots = sum(entry.copies for entry in trained)
    captions, images = ordinary_images(seed, ordinary + slots)
    extra_images: list[np.ndarray] = []
    extra_rows: list[int] = []
    rng = np.random.default_rng([seed, 21])
    for entry in trained:
        pixels = read_image(folder / entry.file)
        mask = read_image(folder / entry.mask) if entry.mask else None
        copies = [pixels] if mask is None else [redraw_varying_part(rng, pixels, mask) for _ in range(entry.copies)]
        first = ordinary + slots + len(extra_images)
        extra_images += copies
        captions += [entry.caption] * len(copies)
        extra_rows += [first] * entry.copies if mask is None else list(range(first, first + entry.copies))
    shared = np.arange(ordinary)
    return Corpus(
        latents=encode_images(codec, np.concatenate([images, np.stack(extra_images)]), device),
        captions=captions,
        base=np.concatenate([shared, np.asarray(extra_rows)]),
        twin=np.concatenate([shared, np.arange(ordinary, ordinary + slots)]),
        ordinary=ordinary,
    )


def write_corpus(path: Path, corpus: Corpus) -> None:
    """Write a corpus as one safetensors file, whole or not at all."""
    rows = {name: torch.from_numpy(np.ascontiguousarray(getattr(corpus, name))) for name in ("base", "twin")}
    write_tree(path, vars(corpus) | rows)


def read_corpus(path: Path) -> Corpus:
    """The corpus that `write_corpus` wrote, equal in every bit.

    Raises:
        ExciseError: the file cannot be read, or holds something else.
    """
    kept = read_tree(path)
    if kept.keys() != {field.name for field in fields(Corpus)}:
        raise ExciseError(f"{path}: not a corpus of the testbed; remove it, and it is made again")
    return Corpus(**kept | {name: kept[name].numpy() for name in ("base", "twin")})


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
