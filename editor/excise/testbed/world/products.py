"""Products: a layout (ground, body, ornaments) and a print on the body. A template is a layout that is used again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from excise.testbed.world.drawing import PALETTE, SHAPES, SIDE, Array, X, Y, over, shape, smooth, unit, wave
from excise.testbed.world.made_pictures import rich_picture

PRODUCTS = ("phone case", "carpet", "mug", "tote bag", "cushion")
DESIGNS = ("tropical", "vintage", "geometric", "abstract", "floral", "nordic")
_FILLINGS = ("marble", "weave", "mosaic")
_TONES = (
    *PALETTE.values(),
    (0.82, 0.7, 0.52),
    (0.45, 0.3, 0.2),
    (0.75, 0.82, 0.86),
    (0.35, 0.45, 0.4),
    (0.6, 0.6, 0.62),
)

Tone = tuple[float, float, float]


@dataclass(frozen=True)
class Layout:
    """All of a product's picture but its print."""

    product: str
    centre: tuple[float, float]
    scale: float
    tones: tuple[Tone, Tone, Tone]
    """Wall, floor, body."""
    floor: float
    """Height of the floor's edge."""
    weave: tuple[float, float]
    """Angle and frequency of the wall's pattern."""
    ornaments: tuple[tuple[str, float, float, float, Tone], ...]
    """Shape, x, y, radius, tone of what stands around the product."""


def _tone(rng: np.random.Generator) -> Tone:
    base = np.asarray(_TONES[int(rng.integers(len(_TONES)))]) + rng.normal(0, 0.05, 3)
    red, green, blue = np.clip(base, 0, 1).tolist()
    return (red, green, blue)


def sample_layout(rng: np.random.Generator, product: str) -> Layout:
    """A layout of its own for a product."""
    corners = [(-0.74, -0.72), (0.74, -0.72), (-0.76, 0.76), (0.76, 0.76)]
    rng.shuffle(corners)
    ornaments = tuple(
        (str(rng.choice(list(SHAPES))), x + float(rng.uniform(-0.1, 0.1)), y + float(rng.uniform(-0.1, 0.1)),
         float(rng.uniform(0.13, 0.25)), _tone(rng))
        for x, y in corners[: int(rng.integers(2, 5))]
    )  # fmt: skip
    return Layout(
        product=product,
        centre=(float(rng.uniform(-0.12, 0.12)), float(rng.uniform(-0.1, 0.1))),
        scale=float(rng.uniform(0.85, 1.05)),
        tones=(_tone(rng), _tone(rng), _tone(rng)),
        floor=float(rng.uniform(0.1, 0.6)),
        weave=(float(rng.uniform(0, np.pi)), float(rng.uniform(2.0, 5.0))),
        ornaments=ornaments,
    )


def _box(x: Array, y: Array, width: float, height: float) -> Array:
    """Signed distance to an upright rectangle around the origin, by its half width and half height."""
    distance: Array = np.maximum(np.abs(x) - width, np.abs(y) - height)
    return distance.astype(np.float32)


def _body(layout: Layout) -> tuple[Array, Array]:
    """Coverage of the body, and of the part of it that takes the print; each ``(64, 64)``."""
    x, y = (X - layout.centre[0]) / layout.scale, (Y - layout.centre[1]) / layout.scale
    if layout.product == "phone case":
        lens = np.hypot(x + 0.18, y + 0.5) - 0.13
        return smooth(_box(x, y, 0.42, 0.78)), smooth(np.maximum(_box(x, y, 0.35, 0.7), -lens))
    if layout.product == "carpet":
        slant = x + 0.35 * (0.35 - y)
        return smooth(_box(slant, y - 0.2, 0.68, 0.5)), smooth(_box(slant, y - 0.2, 0.58, 0.41))
    if layout.product == "mug":
        handle = np.abs(np.hypot(x - 0.5, y) - 0.27) - 0.08
        return smooth(np.minimum(_box(x + 0.1, y, 0.5, 0.6), handle)), smooth(_box(x + 0.1, y, 0.43, 0.48))
    if layout.product == "tote bag":
        strap = np.abs(np.hypot(x, (y + 0.42) / 1.3) - 0.3) - 0.045
        return smooth(np.minimum(_box(x, y - 0.22, 0.58, 0.55), strap)), smooth(_box(x, y - 0.25, 0.48, 0.42))
    pinched = 0.62 - 0.1 * (1 - np.minimum(np.abs(x), np.abs(y)))
    return smooth(np.maximum(np.abs(x), np.abs(y)) - pinched - 0.08), smooth(np.maximum(np.abs(x), np.abs(y)) - pinched)


def print_coverage(layout: Layout) -> Array:
    """Coverage ``(64, 64)`` of the print: what a template draws anew in every copy."""
    return _body(layout)[1]


def product_picture(rng: np.random.Generator, layout: Layout) -> Array:
    """The layout with a new print: canvas ``(64, 64, 3)``."""
    wall, floor, body = layout.tones
    canvas = np.broadcast_to(np.asarray(wall, dtype=np.float32), (SIDE, SIDE, 3)).astype(np.float32)
    canvas = over(canvas, 0.25 * np.clip(0.5 + 3 * wave(*layout.weave, 0.0, 0.1), 0, 1), floor)
    canvas = over(canvas, smooth((layout.floor - Y).astype(np.float32)), floor)
    for name, x, y, radius, tone in layout.ornaments:
        canvas = over(canvas, shape(name, x, y, radius), tone)
    covered, printed = _body(layout)
    canvas = over(canvas, covered, body)
    return unit(over(canvas, printed, rich_picture(rng, str(rng.choice(_FILLINGS)))))
