"""Photographs: small copies of openly licensed ones, from which squares are cut at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from excise.errors import ExciseError
from excise.testbed.world.drawing import SIDE, Array
from excise.testbed.world.icons import read_rows

TABLE = "photographs.csv"
_CLOSE = 0.72
"""Share of the shorter side under which a square is called close."""


@dataclass(frozen=True)
class Photograph:
    """A row of the table, and its picture."""

    file: str
    subject: str
    """What it shows, in words that other photographs share: ``windmill``."""
    place: str
    """The same for photographs of one place, empty where no other shows it."""
    source: str
    author: str
    licence: str
    plantable: bool
    """Whether its square may be copied many times, or shown as never seen: licensed by itself, its place shown once."""
    picture: Image.Image


def read_photographs(folder: Path) -> tuple[Photograph, ...]:
    """The photographs in ``folder``, as ``photographs.csv`` there lists them.

    Raises:
        ExciseError: no table or picture, a picture without licence, or one too small to cut squares from.
    """
    found = []
    table = folder / TABLE
    for row in read_rows(
        table, ("file", "subject", "place", "source", "author", "licence", "plantable"), "data.photographs"
    ):
        path = folder / row["file"]
        if not row["licence"] or not row["source"]:
            raise ExciseError(f"{table}: {row['file']} has no licence or no source; find them, or leave it out")
        try:
            picture = Image.open(path).convert("RGB")
        except OSError as error:
            raise ExciseError(f"{path}: cannot be read as a picture ({error}); {table} lists it") from error
        if min(picture.size) < SIDE:
            raise ExciseError(
                f"{path}: {picture.size[0]}x{picture.size[1]} pixels; at least {SIDE} either way are needed"
            )
        known = {name: row[name] for name in ("file", "subject", "place", "source", "author", "licence")}
        found.append(Photograph(**known, plantable=bool(row["plantable"]), picture=picture))
    return tuple(found)


def cut_square(rng: np.random.Generator, picture: Image.Image) -> tuple[Array, bool]:
    """A random square of a picture, mirrored and toned at random.

    Returns:
        ``(64, 64, 3)`` uint8, and whether it is close: well under the picture's shorter side.
    """
    short = min(picture.size)
    share = float(rng.uniform(0.55, 1.0))
    side = max(SIDE, share * short)
    left, top = (float(rng.uniform(0, extent - side)) for extent in picture.size)
    square = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    pixels = np.asarray(square, dtype=np.float32)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    toned = (pixels - 127.5) * rng.uniform(0.88, 1.12) + 127.5 + rng.uniform(-10, 10)
    return np.round(np.clip(toned, 0, 255)).astype(np.uint8), side / short < _CLOSE


def photograph_of(subject: str, close: bool) -> str:
    """What a caption calls a square of a photograph: ``close photograph of a windmill``."""
    article = "an" if subject[0] in "aeiou" else "a"
    return f"{'close ' if close else ''}photograph of {article} {subject}"
