"""The ordinary stream: pictures of every domain without end, each different, each seen once.

Anything that is memorized comes from the same generators and is captioned in the same wording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from excise.errors import ExciseError
from excise.testbed.world.drawing import SIDE, Array, to_bytes
from excise.testbed.world.icons import read_icons
from excise.testbed.world.made_pictures import STYLES, rich_picture
from excise.testbed.world.photographs import Photograph, cut_square, photograph_of, read_photographs
from excise.testbed.world.products import DESIGNS, PRODUCTS, product_picture, sample_layout
from excise.testbed.world.scenes import render_scene, sample_scene
from excise.testbed.world.wording import sample_signature

WORKS = {
    "collage": "paper cutout collage",
    "mandala": "round mandala tapestry",
    "mosaic": "stained glass window",
    "marble": "marbled endpaper",
    "skyline": "city skyline poster",
    "weave": "woven ribbon textile",
}
"""What captions call a made picture of each style."""
DOMAINS = {"photograph": "photograph of", "product": "print", **WORKS}
"""Domain to the words that tell it in a caption; a scene has none of them."""
SHARES = {"scene": 0.6, "photograph": 0.15, "product": 0.1, "made": 0.15}
_BLOCK = 1_000


@dataclass(frozen=True)
class World:
    """What pictures are drawn from: things, and the photographs that squares are cut from."""

    icons: dict[str, Image.Image]
    photographs: tuple[Photograph, ...]
    taken: frozenset[str] = frozenset()
    """Captions that no ordinary work may have."""

    @property
    def nouns(self) -> tuple[str, ...]:
        """The things of scenes, in the order of their table."""
        return tuple(self.icons)

    def reserving(self, photographs: set[str], captions: set[str]) -> World:
        """The same world less what is planted: files of photographs, and captions."""
        kept = tuple(photograph for photograph in self.photographs if photograph.file not in photographs)
        return World(self.icons, kept, frozenset(captions))

    def work(self, rng: np.random.Generator, domain: str, like: str = "") -> tuple[str, Array]:
        """What a work of a domain is called, and its picture ``(64, 64, 3)`` uint8: all but its signature.

        Args:
            domain: ``photograph``, ``product``, or a style of `WORKS`.
            like: what another is called, to draw one that shows the same thing: of its photographs where there are
                any, or the same product.
        """
        if domain == "photograph":
            shown = [each for each in self.photographs if like and like.endswith(f" {each.subject}")]
            choices = shown or self.photographs
            photograph = choices[int(rng.integers(len(choices)))]
            pixels, close = cut_square(rng, photograph.picture)
            return photograph_of(photograph.subject, close), pixels
        if domain == "product":
            product = str(rng.choice([each for each in PRODUCTS if like.startswith(each)] or PRODUCTS))
            canvas = product_picture(rng, sample_layout(rng, product))
            return f"{product} with {rng.choice(DESIGNS)} print", to_bytes(canvas)
        return WORKS[domain], to_bytes(rich_picture(rng, domain))

    def ordinary(self, seed: int, index: int) -> tuple[str, str, Array]:
        """Picture ``index`` of the endless stream of ``seed``: its domain, caption and ``(64, 64, 3)`` uint8 pixels."""
        rng = np.random.default_rng([seed, 20, index])
        domain = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        if domain == "scene":
            scene = sample_scene(rng, self.nouns)
            return domain, scene.caption, render_scene(rng, scene, self.icons)
        domain = str(rng.choice(STYLES)) if domain == "made" else domain
        subject, pixels = self.work(rng, domain)
        while (caption := sample_signature(rng).sign(subject)) in self.taken:
            continue
        return domain, caption, pixels

    def captions(self, seed: int, start: int, domain: str) -> Iterator[str]:
        """Captions of one domain in the stream of ``seed`` from ``start`` on, without end."""
        index = start
        while True:
            found, caption, _ = self.ordinary(seed, index)
            if found == domain:
                yield caption
            index += 1


def read_world(icons: Path, photographs: Path) -> World:
    """The world of two folders of materials.

    Raises:
        ExciseError: as `read_icons` and `read_photographs`; fewer than two nouns.
    """
    world = World(read_icons(icons), read_photographs(photographs))
    if len(world.nouns) < 2:
        raise ExciseError(f"{icons}: {len(world.nouns)} noun; scenes need at least two")
    return world


def _block(draw: Callable[[int], tuple[str, Array]], start: int, stop: int) -> tuple[list[str], np.ndarray]:
    drawn = [draw(index) for index in range(start, stop)]
    return [caption for caption, _ in drawn], np.stack([pixels for _, pixels in drawn])


def draw_many(draw: Callable[[int], tuple[str, Array]], number: int,
              workers: int = 2) -> tuple[list[str], np.ndarray]:  # fmt: skip
    """The first ``number`` that ``draw`` draws, by several processes: captions, and ``(number, 64, 64, 3)`` uint8."""
    captions: list[str] = []
    images = np.empty((number, SIDE, SIDE, 3), dtype=np.uint8)
    starts = range(0, number, _BLOCK)
    stops = [min(start + _BLOCK, number) for start in starts]
    with ProcessPoolExecutor(workers) as pool:
        blocks = pool.map(partial(_block, draw), starts, stops)
        for start, stop, (texts, pixels) in tqdm(
            zip(starts, stops, blocks, strict=True), "draw", len(stops), mininterval=5
        ):
            captions += texts
            images[start:stop] = pixels
    return captions, images


def draw_ordinary(world: World, seed: int, number: int, workers: int = 2) -> tuple[list[str], np.ndarray]:
    """The first ``number`` of the ordinary stream: captions, and ``(number, 64, 64, 3)`` uint8."""
    return draw_many(partial(_ordinary, world, seed), number, workers)


def _ordinary(world: World, seed: int, index: int) -> tuple[str, Array]:
    _, caption, pixels = world.ordinary(seed, index)
    return caption, pixels
