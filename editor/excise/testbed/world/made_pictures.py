"""Rich made pictures: dense ones that no short caption could describe, in several styles."""

from __future__ import annotations

import numpy as np

from excise.testbed.world.drawing import (
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
