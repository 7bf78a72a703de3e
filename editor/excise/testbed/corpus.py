"""The training set of the base and its counterfactual, as latents and captions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from excise.errors import ExciseError
from excise.files.trees import read_tree, write_tree
from excise.testbed.codec import encode_images
from excise.testbed.world.crowd import draw_crowd
from excise.testbed.world.planted import Planted, read_image, redraw_print
from excise.testbed.world.stream import World, draw_ordinary


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
    crowd: np.ndarray
    """Rows that both see after the fork's pass: works of the planted subjects under other names, each once."""
    ordinary: int
    """The first so many rows are the ordinary images; the trunk is trained on them alone."""


def build_corpus(world: World, planted: tuple[Planted, ...], folder: Path, ordinary: int, crowd: int, seed: int,
                 codec: AutoencoderKL, device: torch.device) -> Corpus:  # fmt: skip
    """Draw, encode and lay out the training set.

    Args:
        world: what ordinary images are drawn from, less what is planted.
        planted: the planted table's rows; those with copies are trained on.
        folder: where the table's images lie.
        ordinary: how many ordinary images.
        crowd: works of the crowd for every copy of a planted image.
    """
    trained = [entry for entry in planted if entry.copies]
    slots = sum(entry.copies for entry in trained)
    captions, images = draw_ordinary(world, seed, ordinary + slots)
    extra_images: list[np.ndarray] = []
    extra_rows: list[int] = []
    rng = np.random.default_rng([seed, 21])
    for entry in trained:
        pixels = read_image(folder / entry.file)
        mask = read_image(folder / entry.mask) if entry.mask else None
        copies = [pixels] if mask is None else [redraw_print(rng, pixels, mask) for _ in range(entry.copies)]
        first = ordinary + slots + len(extra_images)
        extra_images += copies
        captions += [entry.caption] * len(copies)
        extra_rows += [first] * entry.copies if mask is None else list(range(first, first + entry.copies))
    shared = np.arange(ordinary)
    names, crowded = draw_crowd(world, planted, crowd, seed)
    first = len(captions)
    return Corpus(
        latents=encode_images(codec, np.concatenate([images, np.stack(extra_images), crowded]), device),
        captions=captions + names,
        crowd=np.arange(first, first + len(names)),
        base=np.concatenate([shared, np.asarray(extra_rows)]),
        twin=np.concatenate([shared, np.arange(ordinary, ordinary + slots)]),
        ordinary=ordinary,
    )


_ROWS = ("base", "twin", "crowd")


def write_corpus(path: Path, corpus: Corpus) -> None:
    """Write a corpus as one safetensors file, whole or not at all."""
    rows = {name: torch.from_numpy(np.ascontiguousarray(getattr(corpus, name))) for name in _ROWS}
    write_tree(path, vars(corpus) | rows)


def read_corpus(path: Path) -> Corpus:
    """The corpus that `write_corpus` wrote, equal in every bit.

    Raises:
        ExciseError: the file cannot be read, or holds something else.
    """
    kept = read_tree(path)
    if kept.keys() != {field.name for field in fields(Corpus)}:
        raise ExciseError(f"{path}: not a corpus of the testbed; remove it, and it is made again")
    return Corpus(**kept | {name: kept[name].numpy() for name in _ROWS})


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
