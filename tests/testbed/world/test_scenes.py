from __future__ import annotations

import numpy as np
import pytest

from excise.measures.judge import Judge
from excise.testbed.train_judge import questions_of
from excise.testbed.world.drawing import PALETTE
from excise.testbed.world.scenes import COLOURS, PATTERNS, PLACES, SIZES, Scene, render_scene, sample_scene
from tests.testbed.world.materials import world


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (
            Scene(("owl",), "large", "at the top", "orange", "wavy"),
            "a large owl at the top of an orange wavy background",
        ),
        (Scene(("key",), "small", "on the left", "red", "plain", 1), "red plain background, a small key on the left"),
        (
            Scene(("apple",), "large", "in the center", "blue", "dotted", 2),
            "a picture of a large apple in the center, blue dotted background",
        ),
        (Scene(("owl", "key"), "small", "at the top", "red", "plain"), "an owl beside a key on a red plain background"),
        (Scene(("owl", "key"), "small", "at the top", "red", "plain", 1), "red plain background, an owl beside a key"),
    ],
)
def test_a_caption_says_what_is_drawn(scene: Scene, caption: str):
    assert scene.caption == caption


def test_the_judge_reads_every_caption_as_what_was_drawn():
    judge, rng = Judge(questions_of(world())), np.random.default_rng(3)
    for _ in range(300):
        scene = sample_scene(rng, world().nouns)
        wanted = {"object": world().nouns.index(scene.things[0]), "colour": COLOURS.index(scene.colour)}
        assert judge.labels_of(scene.caption) == wanted


def test_everything_is_drawn_and_a_pair_is_of_two_things():
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, world().nouns) for _ in range(2_000)]
    assert {thing for scene in scenes for thing in scene.things} == set(world().nouns)
    for values, found in ((SIZES, "size"), (PLACES, "place"), (COLOURS, "colour"), (PATTERNS, "pattern")):
        assert {getattr(scene, found) for scene in scenes} == set(values)
    pairs = [scene for scene in scenes if len(scene.things) == 2]
    assert 0.15 < len(pairs) / len(scenes) < 0.25 and all(len(set(scene.things)) == 2 for scene in pairs)


def _shown(scene: Scene, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the thing is: rows and columns of the pixels that another thing's absence changes, in -1 to 1."""
    icons = world().icons
    blank = {noun: icon.copy() for noun, icon in icons.items()}
    for icon in blank.values():
        icon.putalpha(0)
    with_it = render_scene(np.random.default_rng(seed), scene, icons).astype(int)
    without = render_scene(np.random.default_rng(seed), scene, blank).astype(int)
    rows, columns = np.nonzero(np.abs(with_it - without).max(axis=2) > 8)
    return rows / 32 - 1, columns / 32 - 1


@pytest.mark.parametrize("place", PLACES)
def test_a_thing_is_where_the_caption_says(place: str):
    rows, columns = _shown(Scene(("football",), "small", place, "green", "plain"), 1)
    for found, towards in zip((columns.mean(), rows.mean()), PLACES[place], strict=True):
        assert abs(found - towards / 2) < (0.1 if towards else 0.3)


def test_a_large_thing_is_larger_than_a_small_one():
    areas = [len(_shown(Scene(("football",), size, "in the center", "red", "plain"), 2)[0]) for size in SIZES]
    assert areas == sorted(areas) and areas[0] * 1.8 < areas[-1]


def test_of_two_things_the_first_is_to_the_left():
    pair = Scene(("tree", "football"), "small", "in the center", "red", "plain")
    icons = dict(world().icons)
    hidden = icons["football"].copy()
    hidden.putalpha(0)
    drawn = [render_scene(np.random.default_rng(4), pair, icons | changed) for changed in ({}, {"football": hidden})]
    _, columns = np.nonzero(np.abs(drawn[0].astype(int) - drawn[1]).max(axis=2) > 8)
    assert len(columns) and columns.min() >= 32


@pytest.mark.parametrize("colour", COLOURS)
def test_the_ground_has_the_colour_of_the_caption(colour: str):
    rng = np.random.default_rng(5)
    for pattern in PATTERNS:
        corner = render_scene(rng, Scene(("key",), "small", "in the center", colour, pattern), world().icons)
        tone = np.median(corner[[0, -1]].reshape(-1, 3), axis=0) / 255
        assert min(PALETTE, key=lambda name: float(np.linalg.norm(tone - PALETTE[name]))) == colour
