"""The ordinary stream: captioned scenes of one object, from a grammar, every image different.

A caption fixes the object, its colour, size and place, the background and its pattern, and at most one
*effect*; everything else (exact position, turn, tint, pattern phase, …) is drawn anew for each image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from excise.testbed.drawing import PALETTE, Array, X, Y, fractal_noise, jitter, over, shape, smooth, wave

COLOURS = tuple(PALETTE)
OBJECTS = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "crescent")
SIZES: dict[str, tuple[float, float]] = {"small": (0.44, 0.50), "": (0.56, 0.62), "large": (0.70, 0.78)}
PLACES: dict[str, tuple[float, float]] = {
    "in the center": (0.0, 0.0),
    "on the left": (-0.34, 0.0),
    "on the right": (0.34, 0.0),
    "at the top": (0.0, -0.34),
    "at the bottom": (0.0, 0.34),
}
PATTERNS = ("plain", "striped", "dotted", "checkered", "wavy", "cloudy")
EFFECTS = ("", "with a border", "with a shadow", "in the rain", "under a spotlight", "on old film")


@dataclass(frozen=True)
class Scene:
    """What a caption says. ``wording`` picks one of the sentence forms; it changes no pixel."""

    thing: str
    colour: str
    size: str
    place: str
    ground: str
    pattern: str
    effect: str
    wording: int = 0

    @property
    def caption(self) -> str:
        """The sentence for this scene, lower case, one of three forms."""
        thing = " ".join(word for word in (self.size, self.colour, self.thing) if word)
        article = "an" if thing[0] in "aeiou" else "a"
        ground = f"{self.ground} {self.pattern} background"
        ground_article = "an" if ground[0] in "aeiou" else "a"
        tail = f" {self.effect}" if self.effect else ""
        if self.wording == 0:
            return f"{article} {thing} {self.place} of {ground_article} {ground}{tail}"
        if self.wording == 1:
            return f"{ground}, {thing} {self.place}{tail}"
        return f"a picture of {article} {thing} {self.place}, {ground}{tail}"


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene; the object's colour always differs from the background's."""
    colour, ground = rng.choice(COLOURS, size=2, replace=False)
    return Scene(
        thing=str(rng.choice(OBJECTS)),
        colour=str(colour),
        size=str(rng.choice(list(SIZES))),
        place=str(rng.choice(list(PLACES))),
        ground=str(ground),
        pattern=str(rng.choice(PATTERNS)),
        effect=str(rng.choice(EFFECTS, p=(0.5, 0.1, 0.1, 0.1, 0.1, 0.1))),
        wording=int(rng.integers(3)),
    )


def _second_tone(colour: Array) -> Array:
    """A tone of the same hue that a pattern can be seen in: lighter when dark, darker when light."""
    target = 1.0 if colour.mean() < 0.45 else 0.0
    return (colour * 0.78 + target * 0.22).astype(np.float32)


def background(rng: np.random.Generator, ground: str, pattern: str) -> Array:
    """Canvas ``(64, 64, 3)`` of one patterned background."""
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


def _apply_effect(rng: np.random.Generator, canvas: Array, effect: str) -> Array:
    if effect == "with a border":
        edge = np.maximum(np.abs(X), np.abs(Y))
        return over(canvas, smooth((0.86 - edge).astype(np.float32)), jitter(rng, (0.55, 0.38, 0.2)))
    if effect == "in the rain":
        streak = wave(float(rng.uniform(0.2, 0.4)), float(rng.uniform(8.0, 10.0)), float(rng.uniform(0, 6)))
        return over(canvas, 0.5 * np.clip(4.0 * (streak - 0.75), 0.0, 1.0), (0.8, 0.86, 0.95))
    if effect == "under a spotlight":
        dark = np.clip((np.hypot(X, Y) - 0.55) / 0.75, 0.0, 1.0)
        return over(canvas, (0.75 * dark).astype(np.float32), (0.0, 0.0, 0.0))
    if effect == "on old film":
        faded = canvas * 0.75 + 0.25 * canvas.mean(axis=2, keepdims=True)
        tinted: Array = (faded * np.array([0.98, 0.93, 0.80], dtype=np.float32)).astype(np.float32)
        return tinted
    return canvas


def render_scene(rng: np.random.Generator, scene: Scene) -> Array:
    """Draw ``scene`` as a canvas ``(64, 64, 3)`` in [0, 1]; every call with fresh ``rng`` state differs."""
    canvas = background(rng, scene.ground, scene.pattern)
    radius = float(rng.uniform(*SIZES[scene.size]))
    cx, cy = PLACES[scene.place]
    limit = 0.95 - radius
    cx = float(np.clip(cx + rng.uniform(-0.06, 0.06), -limit, limit))
    cy = float(np.clip(cy + rng.uniform(-0.06, 0.06), -limit, limit))
    turn = float(rng.uniform(-0.15, 0.15))
    if scene.effect == "with a shadow":
        canvas = over(canvas, 0.6 * shape(scene.thing, cx + 0.12, cy + 0.12, radius, turn), (0.0, 0.0, 0.0))
    canvas = over(canvas, shape(scene.thing, cx, cy, radius, turn), jitter(rng, PALETTE[scene.colour]))
    return np.clip(_apply_effect(rng, canvas, scene.effect), 0.0, 1.0)
