"""Sheets of pictures: the same prompts and seeds, model by model, a row each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from excise.measures.replication import load_target
from excise.prompts.questions import JUDGED, NEVER_SEEN, SHOWN, Question, questions_of
from excise.prompts.sets import PromptSets
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


def spaced(count: int) -> list[int]:
    """At most eight of ``count`` places, evenly."""
    return list(range(0, count, max(1, count // COLUMNS)))[:COLUMNS]


def run_sheet(run: Run, sets: PromptSets) -> Image.Image:
    """What every model draws at the first seed, below the training images where there are some: for held-out prompts,
    for located ones where none are held out, for ordinary ones where no memorized prompt has an image.
    """
    models, asked = read_measures(run).models, questions_of(sets)
    shown = next(question for question in (*SHOWN, JUDGED) if question in asked and question != NEVER_SEEN)
    columns = spaced(len(asked[shown]))
    rows = [(MODELS[name], first_images(run, name, shown, columns)) for name in MODELS if name in models]
    if shown == JUDGED:
        return sheet(rows)
    size = rows[0][1][0].shape[:2]
    targets = [load_target(asked[shown][i], *size).image for i in columns]
    training = [(255 * image).round().byte().permute(1, 2, 0).numpy() for image in targets]
    return sheet([("training image", training), *rows])
