"""The card's picture: the same prompts and seeds, row by row, base beside edited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from safetensors import safe_open

from editor.report.words import SETS

COLUMNS, SIDE, GAP, MARGIN = 8, 128, 4, 96
ARMS = {"base": "base", "edited": "edited", "twin": "never trained\non the images"}


def sheet(rows: Sequence[tuple[str, Sequence[np.ndarray]]]) -> Image.Image:
    """Labelled rows of images, uint8 (height, width, 3), each scaled to 128 pixels a side."""
    width = MARGIN + max(len(images) for _, images in rows) * (SIDE + GAP)
    canvas = Image.new("RGB", (width, len(rows) * (SIDE + GAP)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for y, (label, images) in enumerate(rows):
        draw.multiline_text((4, y * (SIDE + GAP) + SIDE // 2 - 8), label, fill="black", font=font)
        for x, image in enumerate(images):
            tile = Image.fromarray(image)
            how = Image.Resampling.NEAREST if tile.width < SIDE else Image.Resampling.LANCZOS
            canvas.paste(tile.resize((SIDE, SIDE), how), (MARGIN + x * (SIDE + GAP), y * (SIDE + GAP)))
    return canvas


def first_images(run: Path, arm: str, key: str, columns: Sequence[int]) -> list[np.ndarray]:
    """A run's images at the first seed of some prompts of a set, uint8 (height, width, 3)."""
    with safe_open(run / "images" / f"{arm}.{key}.safetensors", "np") as file:
        images = file.get_slice("images")
        return [np.transpose(images[i][0], (1, 2, 0)) for i in columns]


def spread(count: int) -> list[int]:
    """At most eight of ``count`` places, evenly."""
    return list(range(0, count, max(1, count // COLUMNS)))[:COLUMNS]


def before_after(run: Path, memorized: bool) -> tuple[Image.Image, str]:
    """The sheet of a run, and what it shows in a sentence.

    Args:
        run: the run's folder.
        memorized: show held-out memorized prompts above the ordinary ones.
    """
    measures: dict[str, Any] = json.loads((run / "measures.json").read_text(encoding="utf-8"))
    held_out = [key for key in SETS if key.startswith("held_out") and key in measures["sets"]]
    keys = [*(held_out[:1] if memorized else ()), "judged"]
    rows = []
    for key in keys:
        columns = spread(len(measures["sets"][key]["prompts"]))
        for arm in (arm for arm in ARMS if key in measures["arms"].get(arm, {})):
            rows.append((ARMS[arm], first_images(run, arm, key, columns)))
    shown = [f"{SETS[key]} prompts" if key in SETS else "ordinary prompts" for key in keys]
    return sheet(rows), f"Same prompts and seeds, {' above '.join(shown)}."
