"""The training set of the base and its counterfactual, as latents and captions."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from excise.errors import ExciseError
from excise.files.trees import read_tree, write_tree
from excise.testbed.codec import encode_images
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
    ordinary: int
    """The first so many rows are the ordinary images; the trunk is trained on them alone."""


def build_corpus(world: World, planted: tuple[Planted, ...], folder: Path, ordinary: int, seed: int,
                 codec: AutoencoderKL, device: torch.device) -> Corpus:  # fmt: skip
    """Draw, encode and lay out the training set.

    Args:
        world: what ordinary images are drawn from, less what is planted.
        planted: the planted table's rows; those with copies are trained on.
        folder: where the table's images lie.
        ordinary: how many ordinary images.
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
