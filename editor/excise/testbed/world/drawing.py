"""Anti-aliased shapes and patterns as functions of a pixel grid; what every made image is drawn with.

A *coverage* is a float32 array ``(64, 64)`` in [0, 1]: how much of each pixel a shape covers.
A *canvas* is a float32 array ``(64, 64, 3)`` in [0, 1]. Coordinates run from -1 to 1, y downwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIDE = 64
PIXEL = 2.0 / SIDE

_axis = ((np.arange(SIDE, dtype=np.float32) + 0.5) * PIXEL - 1.0).astype(np.float32)
X, Y = np.meshgrid(_axis, _axis)  # each (64, 64)

PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.10, 0.12),
    "orange": (0.96, 0.52, 0.08),
    "yellow": (0.97, 0.88, 0.16),
    "green": (0.12, 0.60, 0.22),
    "blue": (0.12, 0.28, 0.82),
    "purple": (0.52, 0.16, 0.62),
    "white": (0.96, 0.96, 0.96),
    "black": (0.07, 0.07, 0.07),
}


def unit(values: Array) -> Array:
    """Clipped to [0, 1]."""
    clipped: Array = np.clip(values, 0.0, 1.0)
    return clipped


def smooth(distance: Array) -> Array:
    """Coverage of a signed distance field (negative inside), one pixel of anti-aliasing."""
    return unit(0.5 - distance / PIXEL)


def _polygon(x: Array, y: Array, corners: NDArray[np.float64]) -> Array:
    """Signed distance to a simple polygon with ``corners`` ``(n, 2)``."""
    best = np.full(x.shape, np.inf, dtype=np.float32)
    sign = np.ones(x.shape, dtype=np.float32)
    previous = corners[-1]
    for corner in corners:
        edge = previous - corner
        wx, wy = x - corner[0], y - corner[1]
        along = np.clip((wx * edge[0] + wy * edge[1]) / (edge @ edge), 0.0, 1.0)
        best = np.minimum(best, (wx - edge[0] * along) ** 2 + (wy - edge[1] * along) ** 2)
        above, below = y >= corner[1], y < previous[1]
        left = edge[0] * wy > edge[1] * wx
        crossing = (above & below & left) | (~above & ~below & ~left)
        sign = np.where(crossing, -sign, sign)
        previous = corner
    distance: Array = sign * np.sqrt(best)
    return distance.astype(np.float32)


def _regular(points: int, inner: float = 1.0) -> NDArray[np.float64]:
    """Corners of a regular polygon, or of a star when ``inner`` < 1, pointing up."""
    count = points if inner == 1.0 else 2 * points
    angle = -np.pi / 2 + np.arange(count) * 2 * np.pi / count
    radius = np.where(np.arange(count) % 2 == 0, 1.0, inner)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


_ARROW = np.array([[0.0, -1.0], [0.8, -0.1], [0.32, -0.1], [0.32, 1.0], [-0.32, 1.0], [-0.32, -0.1], [-0.8, -0.1]])


def _heart(x: Array, y: Array) -> Array:
    """Two discs over the tip of a square turned by 45 degrees; an exact union of distances."""
    lobes = np.minimum(np.hypot(x - 0.42, y + 0.30), np.hypot(x + 0.42, y + 0.30)) - 0.56
    tip = _polygon(x, y, np.array([[0.0, 0.98], [0.87, 0.04], [0.0, -0.45], [-0.87, 0.04]]))
    union: Array = np.minimum(lobes, tip)
    return union


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.92,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.82,
    "triangle": lambda x, y: _polygon(x, y + 0.15, _regular(3) * 1.08),
    "star": lambda x, y: _polygon(x, y, _regular(5, 0.42) * 1.1),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.72) - 0.24,
    "cross": lambda x, y: np.minimum(
        np.maximum(np.abs(x) - 0.3, np.abs(y) - 0.95), np.maximum(np.abs(x) - 0.95, np.abs(y) - 0.3)
    ),
    "heart": _heart,
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.95, 0.75 - np.hypot(x - 0.5, y)),
    "arrow": lambda x, y: _polygon(x, y, _ARROW),
    "diamond": lambda x, y: _polygon(x, y, np.array([[0.0, -1.1], [0.7, 0.0], [0.0, 1.1], [-0.7, 0.0]])),
}


def shape(name: str, cx: float, cy: float, radius: float, turn: float = 0.0) -> Array:
    """Coverage ``(64, 64)`` of a named shape of ``radius`` at ``(cx, cy)``, turned by ``turn`` radians."""
    c, s = np.cos(turn), np.sin(turn)
    dx, dy = (X - cx) / radius, (Y - cy) / radius
    return smooth(SHAPES[name](c * dx + s * dy, -s * dx + c * dy) * radius)


def over(canvas: Array, coverage: Array, colour: Array | tuple[float, float, float]) -> Array:
    """Paint ``colour`` (one colour, or a canvas of colours) over ``canvas`` where ``coverage`` says so."""
    layer = coverage[..., None]
    return (canvas * (1.0 - layer) + np.asarray(colour, dtype=np.float32) * layer).astype(np.float32)


def jitter(rng: np.random.Generator, colour: tuple[float, float, float], amount: float = 0.035) -> Array:
    """The colour with a little noise, so that no two images share an exact one."""
    return unit(np.asarray(colour) + rng.normal(0.0, amount, 3)).astype(np.float32)


def wave(angle: float, frequency: float, phase: float, bend: float = 0.0) -> Array:
    """A sinusoid over the plane; ``bend`` makes its crests wavy."""
    c, s = np.cos(angle), np.sin(angle)
    across, along = c * X + s * Y, -s * X + c * Y
    crests: Array = np.sin(np.pi * frequency * (across + bend * np.sin(np.pi * 2.0 * along)) + phase)
    return crests.astype(np.float32)


def fractal_noise(rng: np.random.Generator, exponent: float = 1.0) -> Array:
    """Noise with a power spectrum falling as 1/f^(2*exponent), scaled to [0, 1]."""
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij"))
    f[0, 0] = 1.0
    spectrum = (rng.normal(size=f.shape) + 1j * rng.normal(size=f.shape)) / f**exponent
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(SIDE, SIDE))
    low, high = np.percentile(field, [1, 99])
    return unit((field - low) / (high - low + 1e-9)).astype(np.float32)


def to_bytes(canvas: Array) -> NDArray[np.uint8]:
    """A canvas as ``(64, 64, 3)`` uint8."""
    return np.round(np.clip(canvas, 0.0, 1.0) * 255.0).astype(np.uint8)
