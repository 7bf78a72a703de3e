"""The recipe that a scan, or `excise init`, leaves beside its tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from excise.errors import ExciseError
from excise.files.writing import written_whole
from excise.measures.replication import Rule
from excise.prompts.sets import prompt_sets
from excise.recipe import Prompts, Recipe, UnlearnEdit, Validate, Verdict
from excise.recipe.text import to_toml

TIMES, LEAST_STEPS = 200, 400
"""How often a training comes by each memorized caption; its steps at least. On the testbed that was enough."""


def recipe_of(draft: Recipe, folder: Path, rule: Rule, neighbours: bool) -> Recipe:
    """A recipe that runs as it is on the tables of a folder.

    What the tables are too small for is left out: groups of locating, evidence of sharing, held-out captions. Where the
    edit trains, all captions are to go, and none are held out.

    Args:
        draft: name, model, sampling and edit.
        folder: with memorized.csv, ordinary.csv, judged.csv and perhaps neighbours.csv.
        rule: of replication.
        neighbours: whether there is a table of them.

    Raises:
        ExciseError: the tables are too small for any.
    """
    recipe = draft.model_copy(
        update={
            "prompts": Prompts(
                memorized=draft.prompts.memorized,
                ordinary=folder / "ordinary.csv",
                judged=folder / "judged.csv",
                neighbours=folder / "neighbours.csv" if neighbours else None,
                column=draft.prompts.column,
            ),
            "validate_": Validate(threshold=rule.distance, ssim=rule.ssim, tiles=rule.tiles),
            "verdict": Verdict(agreement_drop=None, neighbour_agreement_drop=None, false_positives=None),
        }
    )
    reason: ExciseError | None = None
    trained = recipe.edit.trained
    for evidence, held_out in ((True, 0.5), (False, 0.5), (False, 0.0))[2 if trained else 0 :]:
        for groups in (4, 3, 2):
            prompts = recipe.prompts.model_copy(update={"held_out": held_out})
            found = recipe.model_copy(
                update={
                    "prompts": prompts,
                    "collect": recipe.collect.model_copy(update={"groups": groups}),
                    "locate": recipe.locate.model_copy(update={"evidence": evidence}),
                }
            )
            try:
                located = sum(map(len, prompt_sets(found).located))
            except ExciseError as error:
                reason = error
            else:
                return _trained_long_enough(found, trained, located) if trained else found
    assert reason is not None
    raise reason


def _trained_long_enough(recipe: Recipe, settings: UnlearnEdit, captions: int) -> Recipe:
    """With as many steps as teach each of them so often."""
    steps = max(LEAST_STEPS, math.ceil(TIMES * captions / min(settings.memorized_rows, captions)))
    unlearn = settings.model_copy(update={"steps": steps})
    return recipe.model_copy(update={"edit": recipe.edit.model_copy(update={"unlearn": unlearn})})


def write_recipe(path: Path, recipe: Recipe, opening: Sequence[str]) -> None:
    """A recipe as TOML that opens with what it does, a comment a line."""
    with written_whole(path) as unfinished:
        unfinished.write_text("".join(f"# {line}\n" for line in opening) + "\n" + to_toml(recipe), encoding="utf-8")
