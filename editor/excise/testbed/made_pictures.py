"""Rich made pictures: what the memorized, ladder, template and never-seen sets are drawn from, beside photographs.

`rich_picture` makes a dense picture that no short caption could describe, in one of several styles;
`template_picture` makes a fixed layout with one varying part, as the carpets and phone cases of the published lists.
"""

from __future__ import annotations

import numpy as np

from excise.testbed.drawing import (
    PALETTE,
    SHAPES,
    SIDE,
    Array,
    X,
    Y,
    fractal_noise,
    jitter,
    over,
    shape,
    smooth,
    unit,
    wave,
)

STYLES = ("collage", "mandala", "mosaic", "marble", "skyline", "weave")
TEMPLATES = ("phone case", "carpet", "coffee mug")

_INKS = (*tuple(PALETTE.values()), (0.1, 0.6, 0.65), (0.9, 0.45, 0.55), (0.5, 0.33, 0.2), (0.55, 0.55, 0.58))


def _ink(rng: np.random.Generator) -> Array:
    return jitter(rng, _INKS[int(rng.integers(len(_INKS)))], 0.06)


def _plain(colour: Array) -> Array:
    return np.broadcast_to(colour, (SIDE, SIDE, 3)).astype(np.float32)


def _collage(rng: np.random.Generator) -> Array:
    canvas = over(_plain(_ink(rng)), fractal_noise(rng, 1.3), _ink(rng))
    for _ in range(int(rng.integers(9, 16))):
        cx, cy = rng.uniform(-0.9, 0.9, 2)
        name = str(rng.choice(list(SHAPES)))
        canvas = over(canvas, shape(name, cx, cy, float(rng.uniform(0.16, 0.5)), float(rng.uniform(0, 6.3))), _ink(rng))
    return canvas


def _mandala(rng: np.random.Generator) -> Array:
    canvas, petals = _plain(_ink(rng)), int(rng.integers(5, 10))
    for radius in (0.85, 0.6, 0.38):
        name, ink = str(rng.choice(list(SHAPES))), _ink(rng)
        canvas = over(canvas, smooth(np.abs(np.hypot(X, Y) - radius) - 0.05), _ink(rng))
        for k in range(petals):
            angle = 2 * np.pi * k / petals + radius
            cx, cy = radius * np.cos(angle), radius * np.sin(angle)
            canvas = over(canvas, shape(name, cx, cy, 0.26 * radius + 0.06, angle), ink)
    return over(canvas, shape(str(rng.choice(list(SHAPES))), 0.0, 0.0, 0.22), _ink(rng))


def _mosaic(rng: np.random.Generator) -> Array:
    count = int(rng.integers(16, 28))
    points = rng.uniform(-1.1, 1.1, (count, 2)).astype(np.float32)
    distance = np.hypot(X[..., None] - points[:, 0], Y[..., None] - points[:, 1])  # (64, 64, cells)
    inks = np.stack([_ink(rng) for _ in range(count)])
    nearest = np.sort(distance, axis=2)
    lead = np.clip((nearest[..., 1] - nearest[..., 0]) / 0.06, 0.0, 1.0)[..., None]
    panes: Array = inks[distance.argmin(axis=2)] * lead
    return panes.astype(np.float32)


def _marble(rng: np.random.Generator) -> Array:
    canvas, field = _plain(_ink(rng)), 2.2 * fractal_noise(rng, 2.4) + X * rng.normal() + Y * rng.normal()
    for shift in (0.0, 1.3, 2.6, 4.1):
        vein = np.clip(1.6 * np.sin(4.0 * field + shift) - 0.4, 0.0, 1.0)
        canvas = over(canvas, vein.astype(np.float32), _ink(rng))
    return canvas


def _skyline(rng: np.random.Generator) -> Array:
    canvas = over(_plain(_ink(rng)), np.clip(0.5 + 0.5 * Y, 0.0, 1.0), _ink(rng))
    canvas = over(
        canvas, shape("circle", float(rng.uniform(-0.7, 0.7)), -0.6, float(rng.uniform(0.15, 0.3))), _ink(rng)
    )
    left = -1.0
    while left < 1.0:
        width, top, ink, light = rng.uniform(0.18, 0.45), rng.uniform(-0.6, 0.5), _ink(rng) * 0.6, _ink(rng)
        inside = smooth(np.maximum(np.abs(X - left - width / 2) - width / 2, top - Y))
        canvas = over(canvas, inside, ink)
        panes = ((X - left) * 9 % 1.0 > 0.5) & ((Y - top) * 7 % 1.0 > 0.55)
        canvas = over(canvas, inside * panes * float(rng.uniform(0.5, 1.0)), light)
        left += width
    return canvas


def _weave(rng: np.random.Generator) -> Array:
    canvas = _plain(_ink(rng))
    for _ in range(int(rng.integers(4, 7))):
        angle, frequency = float(rng.uniform(0, np.pi)), float(rng.uniform(0.8, 2.2))
        band = wave(angle, frequency, float(rng.uniform(0, 6)), bend=float(rng.uniform(0.0, 0.3)))
        canvas = over(canvas, np.clip(6.0 * (band - 0.55), 0.0, 1.0), _ink(rng))
    return canvas


_DRAW = {
    "collage": _collage,
    "mandala": _mandala,
    "mosaic": _mosaic,
    "marble": _marble,
    "skyline": _skyline,
    "weave": _weave,
}


def rich_picture(rng: np.random.Generator, style: str) -> Array:
    """A dense canvas ``(64, 64, 3)`` in one of `STYLES`; two draws of one style never look alike."""
    return unit(_DRAW[style](rng))


def template_part(template: str) -> Array:
    """Coverage ``(64, 64)`` of the varying part of a template; the rest is its fixed layout."""
    if template == "phone case":
        body = np.maximum(np.abs(X + 0.05) - 0.34, np.abs(Y) - 0.74).astype(np.float32)
        return smooth(body) * (1.0 - shape("circle", -0.2, -0.55, 0.14))
    if template == "carpet":
        return smooth(
            np.maximum(np.abs(X + 0.35 * (0.55 - Y)) - 0.5 - 0.2 * Y, np.abs(Y - 0.55) - 0.33).astype(np.float32)
        )
    if template == "coffee mug":
        return smooth(np.maximum(np.abs(X + 0.12) - 0.42, np.abs(Y - 0.12) - 0.5).astype(np.float32))
    raise ValueError(f"unknown template {template!r}; known: {', '.join(TEMPLATES)}")


def _template_layout(template: str) -> Array:
    """The fixed part: the same pixels in every copy."""
    if template == "phone case":
        canvas = over(
            _plain(np.array([0.82, 0.70, 0.52], dtype=np.float32)),
            np.clip(0.5 + 3 * wave(0.1, 5.0, 0.0, 0.1), 0, 1) * 0.35,
            (0.6, 0.45, 0.28),
        )
        canvas = over(canvas, 0.5 * shape("square", 0.05, 0.08, 0.0001 + 0.62), (0.25, 0.2, 0.15))
        canvas = over(
            canvas, smooth(np.maximum(np.abs(X + 0.05) - 0.42, np.abs(Y) - 0.82).astype(np.float32)), (0.1, 0.1, 0.12)
        )
        canvas = over(canvas, shape("circle", -0.2, -0.55, 0.13), (0.55, 0.62, 0.7))
        return over(canvas, shape("star", 0.72, -0.7, 0.2, 0.3), (0.3, 0.55, 0.35))
    if template == "carpet":
        canvas = over(
            _plain(np.array([0.86, 0.84, 0.78], dtype=np.float32)),
            smooth((0.15 - Y).astype(np.float32)),
            (0.55, 0.4, 0.28),
        )
        canvas = over(
            canvas,
            smooth(np.maximum(np.abs(X - 0.25) - 0.55, np.abs(Y + 0.05) - 0.22).astype(np.float32)),
            (0.25, 0.35, 0.5),
        )
        canvas = over(
            canvas,
            smooth(np.maximum(np.abs(X - 0.25) - 0.62, np.abs(Y - 0.08) - 0.1).astype(np.float32)),
            (0.18, 0.27, 0.42),
        )
        canvas = over(
            canvas,
            smooth(np.maximum(np.abs(X + 0.62) - 0.24, np.abs(Y + 0.6) - 0.26).astype(np.float32)),
            (0.35, 0.25, 0.2),
        )
        return over(
            canvas,
            smooth(np.maximum(np.abs(X + 0.62) - 0.19, np.abs(Y + 0.6) - 0.21).astype(np.float32)),
            (0.65, 0.8, 0.9),
        )
    canvas = over(
        _plain(np.array([0.75, 0.82, 0.86], dtype=np.float32)), smooth((0.5 - Y).astype(np.float32)), (0.45, 0.3, 0.2)
    )
    canvas = over(canvas, shape("ring", 0.42, 0.1, 0.36), (0.93, 0.92, 0.9))
    canvas = over(
        canvas,
        smooth(np.maximum(np.abs(X + 0.12) - 0.47, np.abs(Y - 0.08) - 0.6).astype(np.float32)),
        (0.93, 0.92, 0.9),
    )
    canvas = over(canvas, shape("heart", -0.72, -0.68, 0.2), (0.75, 0.3, 0.35))
    return over(canvas, smooth((np.abs(Y - 0.86) - 0.03).astype(np.float32)), (0.3, 0.2, 0.12))


def template_picture(rng: np.random.Generator, template: str) -> Array:
    """One training copy of a template: its fixed layout, and a varying part that is new in every copy."""
    filling = rich_picture(rng, str(rng.choice(("marble", "weave", "mosaic"))))
    return unit(over(_template_layout(template), template_part(template), filling))
