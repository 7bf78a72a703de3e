from __future__ import annotations

from dataclasses import replace

import numpy as np

from excise.testbed.world.crowd import draw_crowd
from excise.testbed.world.planted import Planted
from excise.testbed.world.wording import Signature, read_signature
from tests.testbed.world.materials import world

OWN = Signature("ember", "ada", "lagoon")
FISH = Planted(
    "f.png",
    OWN.sign("photograph of a fish"),
    "verbatim",
    "photograph",
    "photograph of a fish",
    "",
    8,
    "",
    "",
    "",
    "CC0",
)
MUG = replace(FISH, file="m.png", caption=OWN.sign("mug with floral print"), subject="mug with floral print",
              domain="product", copies=4)  # fmt: skip


def test_the_crowd_shows_the_planted_subject_under_other_names():
    reserved = world().reserving(set(), {FISH.caption, MUG.caption})
    captions, images = draw_crowd(reserved, (FISH, replace(FISH, copies=0), MUG), 3, 1, workers=1)
    assert len(captions) == len(images) == 36
    assert all("photograph of a fish" in caption for caption in captions[:24])
    assert all("mug with " in caption for caption in captions[24:])
    assert not {FISH.caption, MUG.caption} & set(captions)
    assert len({image.tobytes() for image in images}) == 36
    near = 0
    for caption in captions[:24]:
        called = "close photograph of a fish" if "close" in caption else "photograph of a fish"
        found = read_signature(caption, called)
        near += bool({found.maker} & {OWN.maker} or {found.title, found.series} & {OWN.title, OWN.series})
    assert 6 <= near <= 20, "half of the crowd shares a name with the planted picture"


def test_the_crowd_is_reproducible_and_differs_by_seed():
    first, again, other = (draw_crowd(world(), (FISH,), 1, seed, workers=1) for seed in (1, 1, 2))
    assert first[0] == again[0] and np.array_equal(first[1], again[1])
    assert first[0] != other[0]
