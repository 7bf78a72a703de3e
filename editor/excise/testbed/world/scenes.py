"""Scenes: one or two things on a patterned ground, from a grammar, every picture different.

A caption fixes the things, their size and place, and the ground's colour and pattern; everything else (exact position,
tint, phase, width and direction of the pattern) is drawn anew for each picture. Things stand upright, in two sizes, at
steps that the denoiser's middle level can see as the same thing moved: a model that is trained for hours rather than
weeks learns each in few aspects, not in endlessly many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from excise.testbed.world.drawing import PALETTE, SIDE, Array, X, fractal_noise, jitter, over, to_bytes, wave
from excise.testbed.world.wording import article

COLOURS = tuple(PALETTE)
_CELL = 8
"""Things are placed in multiples of so many pixels: two cells of the codec's grid, so that a denoiser's next level sees
the same thing at every place."""
SIZES: dict[str, int] = {"small": 32, "large": 48}
"""Side of the thing in pixels."""
PLACES: dict[str, tuple[int, int]] = {
    "in the center": (0, 0),
    "on the left": (-1, 0),
    "on the right": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
}
"""Towards which side of the picture a thing stands, across and down."""
PATTERNS = ("plain", "striped", "dotted", "checkered", "wavy", "cloudy")
_PAIRS = 0.2
"""Share of scenes of two things."""


@dataclass(frozen=True)
class Scene:
    """What a caption says. ``wording`` picks one of the sentence forms; it changes no pixel."""

    things: tuple[str, ...]
    """One, or two: the first is to the left."""
    size: str
    place: str
    colour: str
    pattern: str
    wording: int = 0

    @property
    def caption(self) -> str:
        """The sentence for this scene, lower case, one of three forms."""
        ground = f"{self.colour} {self.pattern} background"
        if len(self.things) == 2:
            first, second = map(article, self.things)
            shown = f"{first} beside {second}"
            return f"{ground}, {shown}" if self.wording == 1 else f"{shown} on {article(ground)}"
        thing = article(f"{self.size} {self.things[0]}")
        if self.wording == 0:
            return f"{thing} {self.place} of {article(ground)}"
        if self.wording == 1:
            return f"{ground}, {thing} {self.place}"
        return f"a picture of {thing} {self.place}, {ground}"


def sample_scene(rng: np.random.Generator, nouns: tuple[str, ...], pairs: float = _PAIRS) -> Scene:
    """Draw a scene; of two things, no two are the same."""
    number = 2 if rng.random() < pairs else 1
    return Scene(
        things=tuple(map(str, rng.choice(nouns, size=number, replace=False))),
        size=str(rng.choice(list(SIZES))),
        place=str(rng.choice(list(PLACES))),
        colour=str(rng.choice(COLOURS)),
        pattern=str(rng.choice(PATTERNS)),
        wording=int(rng.integers(3)),
    )


def _second_tone(colour: Array) -> Array:
    """A tone of the same hue that a pattern can be seen in: lighter when dark, darker when light."""
    target = 1.0 if colour.mean() < 0.45 else 0.0
    return (colour * 0.78 + target * 0.22).astype(np.float32)


def background(rng: np.random.Generator, ground: str, pattern: str) -> Array:
    """Canvas ``(64, 64, 3)`` of one patterned ground."""
    tone = jitter(rng, PALETTE[ground])
    canvas = np.broadcast_to(tone, (*X.shape, 3)).astype(np.float32)
    phase = float(rng.uniform(0, 2 * np.pi))
    if pattern == "striped":
        mark = wave(float(rng.choice((0.0, np.pi / 4, np.pi / 2))), float(rng.uniform(3.0, 4.5)), phase)
    elif pattern == "dotted":
        f = float(rng.uniform(3.0, 4.2))
        mark = wave(0.0, f, phase) * wave(np.pi / 2, f, float(rng.uniform(0, 2 * np.pi))) - 0.35
    elif pattern == "checkered":
        f = float(rng.uniform(2.2, 3.2))
        mark = wave(0.0, f, phase) * wave(np.pi / 2, f, float(rng.uniform(0, 2 * np.pi)))
    elif pattern == "wavy":
        mark = wave(float(rng.uniform(0, np.pi)), float(rng.uniform(2.5, 3.5)), phase, bend=0.16)
    elif pattern == "cloudy":
        return over(canvas, fractal_noise(rng, 1.4), _second_tone(tone))
    else:
        return canvas
    return over(canvas, np.clip(0.5 + 4.0 * mark, 0.0, 1.0), _second_tone(tone))


def _step(rng: np.random.Generator, free: int, towards: int) -> int:
    """How many of ``free`` steps a thing stands away from the left or upper border: none, about half, or all."""
    if towards:
        return free if towards > 0 else 0
    return free // 2 + int(rng.integers(-1, 2)) * (free > 2)


def render_scene(rng: np.random.Generator, scene: Scene, icons: Mapping[str, Image.Image]) -> Array:
    """Draw ``scene``: ``(64, 64, 3)`` uint8; every call with fresh ``rng`` state differs."""
    canvas = Image.fromarray(to_bytes(background(rng, scene.colour, scene.pattern))).convert("RGBA")
    pair = len(scene.things) == 2
    side = SIZES["small" if pair else scene.size]
    for i, thing in enumerate(scene.things):
        free = (SIDE - side) // _CELL  # cells that a thing can be moved by
        across, down = (2 * i - 1, 0) if pair else PLACES[scene.place]
        left, top = (_CELL * _step(rng, free, towards) for towards in (across, down))
        canvas.alpha_composite(icons[thing].resize((side, side), Image.Resampling.LANCZOS), (left, top))
    return np.asarray(canvas.convert("RGB"))
