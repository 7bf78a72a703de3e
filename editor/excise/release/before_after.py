"""The card's picture: the same prompts and seeds, row by row, base beside edited."""

from __future__ import annotations

from collections.abc import Collection

from PIL import Image

from excise.prompts.questions import JUDGED, SHOWN, Place, Question
from excise.report.sheet import MODELS, first_images, sheet, spaced
from excise.run.layout import Run
from excise.run.results import read_measures


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
        columns = spaced(len(measures.sets[question.key].prompts))
        for name in (name for name in MODELS if name in measures.models):
            rows.append((MODELS[name], first_images(run, name, question, columns)))
    return sheet(rows)
