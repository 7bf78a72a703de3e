"""The card's picture: the same prompts and seeds, row by row, base beside edited."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from excise.prompts.questions import JUDGED, SHOWN, Place, Question
from excise.run.images import read_prompt, stored
from excise.run.layout import Run
from excise.run.results import read_measures
from excise.trial.rounds import REPLAY

COLUMNS, SIDE, GAP, MARGIN = 8, 128, 4, 96
MODELS = {"base": "base", "edited": "edited", "twin": "never trained\non the images"}


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


def first_images(run: Run, name: str, question: Question, columns: Sequence[int]) -> list[np.ndarray]:
    """A model's images at the first seed of some prompts of a question, uint8 (height, width, 3)."""
    path = stored(run.images, REPLAY, name, question)
    return [read_prompt(path, i)[0].permute(1, 2, 0).numpy() for i in columns]


def spread(count: int) -> list[int]:
    """At most eight of ``count`` places, evenly."""
    return list(range(0, count, max(1, count // COLUMNS)))[:COLUMNS]


def pictured(asked: Collection[str], memorized: bool) -> list[Question]:
    """Questions whose pictures are shown, of those that were asked: ordinary prompts, below held-out ones if
    ``memorized``."""
    held_out = [question for question in SHOWN if question.place == Place.HELD_OUT and question.key in asked]
    return [*(held_out[:1] if memorized else ()), JUDGED]


def says(asked: Collection[str], memorized: bool) -> str:
    """What the sheet shows, in a sentence."""
    questions = pictured(asked, memorized)
    shown = ["ordinary prompts" if question == JUDGED else f"{question.label} prompts" for question in questions]
    return f"Same prompts and seeds, {' above '.join(shown)}."


def before_after(run: Run, memorized: bool) -> Image.Image:
    """The sheet of a run.

    Args:
        run: the run's folder.
        memorized: show held-out memorized prompts above the ordinary ones.
    """
    measures = read_measures(run)
    questions = pictured(measures.sets, memorized)
    rows = []
    for question in questions:
        columns = spread(len(measures.sets[question.key].prompts))
        for name in (name for name in MODELS if name in measures.models):
            rows.append((MODELS[name], first_images(run, name, question, columns)))
    return sheet(rows)
