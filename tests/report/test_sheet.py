"""The sheet of pictures that a run leaves."""

from __future__ import annotations

import numpy as np
from PIL import Image

from excise.measures.replication import load_target
from excise.prompts.questions import JUDGED, NEVER_SEEN, Place, questions_of
from excise.prompts.sets import PromptSets
from excise.report.sheet import GAP, MARGIN, SIDE, run_sheet
from excise.run.images import read_prompt, stored
from excise.trial.rounds import REPLAY
from tests.trial.tried import Tried


def tile(sheet: Image.Image, row: int, column: int, size: int) -> np.ndarray:
    """A picture of the sheet, in the size that it had."""
    left, top = MARGIN + column * (SIDE + GAP), row * (SIDE + GAP)
    return np.asarray(sheet.crop((left, top, left + SIDE, top + SIDE)).resize((size, size), Image.Resampling.NEAREST))


def test_training_images_stand_above_what_each_model_draws_for_held_out_prompts(tried: Tried) -> None:
    asked = questions_of(tried.sets)
    shown = next(question for question in asked if question.place == Place.HELD_OUT)
    sheet = run_sheet(tried.run, tried.sets)
    assert sheet.height == 4 * (SIDE + GAP)  # training image, base, edited, twin
    for row, model in enumerate(("base", "edited", "twin"), start=1):
        drawn = read_prompt(stored(tried.run.images, REPLAY, model, shown), 0)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(tile(sheet, row, 0, len(drawn)), drawn)
    target = load_target(asked[shown][0], *drawn.shape[:2]).image
    assert np.abs(tile(sheet, 0, 0, len(drawn)) / 255.0 - target.permute(1, 2, 0).numpy()).max() < 0.003


def test_ordinary_prompts_are_shown_where_no_memorized_one_has_an_image(tried: Tried) -> None:
    bare = PromptSets((), (), (), (), tried.sets.judged, tried.sets.never_seen)
    assert set(questions_of(bare)) <= {JUDGED, NEVER_SEEN}
    sheet = run_sheet(tried.run, bare)
    assert sheet.height == 3 * (SIDE + GAP)
