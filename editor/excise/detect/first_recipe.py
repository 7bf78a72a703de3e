"""The recipe that a scan, or `excise init`, leaves beside its tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from excise.errors import ExciseError
from excise.files.writing import written_whole
from excise.measures.replication import Rule
from excise.prompts.sets import prompt_sets
from excise.recipe import Attack, Embedding, Recipe, Section, Validate
from excise.recipe.text import to_toml

TIMES, LEAST_STEPS = 200, 400
"""How often a training comes by each memorized caption; its steps at least. On the testbed that was enough."""
SEARCHED, SEARCH_STEPS = 64, 100
"""Images of each kind that a search looks for, and its steps."""


def recipe_of(draft: Recipe, folder: Path, rule: Rule, neighbours: bool) -> Recipe:
    """A recipe that runs as it is on the tables of a folder.

    What the tables are too small for is left out: groups of locating, evidence of sharing, held-out captions. Where the
    edit trains, and a search beside never-seen images can tell what came of it, all captions are to go and none are
    held out; without such images a quarter is, since an edit that was tried on nothing it had not seen is refused.

    Args:
        draft: name, model, sampling, edit, and perhaps a table of never-seen images.
        folder: with memorized.csv, ordinary.csv, judged.csv and perhaps neighbours.csv.
        rule: of replication.
        neighbours: whether there is a table of them.

    Raises:
        ExciseError: the tables are too small for any.
    """
    recipe = measured(draft).model_copy(
        update={
            "prompts": draft.prompts.model_copy(
                update={
                    "ordinary": folder / "ordinary.csv",
                    "judged": folder / "judged.csv",
                    "neighbours": folder / "neighbours.csv" if neighbours else None,
                }
            ),
            "validate_": Validate(threshold=rule.distance, ssim=rule.ssim, tiles=rule.tiles),
        }
    )
    reason: ExciseError | None = None
    for evidence, held_out in _splits(recipe):
        for groups in range(recipe.collect.groups, 1, -1):
            prompts = recipe.prompts.model_copy(update={"held_out": held_out})
            found = recipe.model_copy(
                update={
                    "prompts": prompts,
                    "collect": recipe.collect.model_copy(update={"groups": groups}),
                    "locate": recipe.locate.model_copy(update={"evidence": evidence}),
                }
            )
            try:
                return _long_enough(found, sum(map(len, prompt_sets(found).located)))
            except ExciseError as error:
                reason = error
    assert reason is not None
    raise reason


def measured(recipe: Recipe) -> Recipe:
    """The recipe with the checks waived that its tables cannot measure, and a search where it can be judged."""
    seen, trained = recipe.prompts.never_seen, recipe.edit.trained
    waived = {"agreement_drop": None, "neighbour_agreement_drop": None} | ({} if seen else {"false_positives": None})
    update: dict[str, Section] = {"verdict": recipe.verdict.model_copy(update=waived)}
    if seen and trained:
        checkpointing = trained.gradient_checkpointing
        search = Embedding(steps=SEARCH_STEPS, images=SEARCHED, gradient_checkpointing=checkpointing)
        update["attack"] = Attack(methods=("replay", "embedding"), embedding=search)
    return recipe.model_copy(update=update)


def _splits(recipe: Recipe) -> tuple[tuple[bool, float], ...]:
    """Whether evidence is asked for, and what is held out: the first that the tables are large enough for."""
    if recipe.edit.trained:
        return ((False, 0.0),) if recipe.prompts.never_seen else ((False, 0.25), (False, 0.0))
    return ((True, 0.5), (False, 0.5), (False, 0.0))


def _long_enough(recipe: Recipe, captions: int) -> Recipe:
    """With as many steps of a training as teach each caption so often."""
    if not (settings := recipe.edit.trained):
        return recipe
    steps = max(LEAST_STEPS, math.ceil(TIMES * captions / min(settings.memorized_rows, captions)))
    unlearn = settings.model_copy(update={"steps": steps})
    return recipe.model_copy(update={"edit": recipe.edit.model_copy(update={"unlearn": unlearn})})


def write_recipe(path: Path, recipe: Recipe, opening: Sequence[str]) -> None:
    """A recipe as TOML that opens with what it does, a comment a line."""
    if recipe.edit.trained:
        opening = [
            *opening,
            "Edit: directions deleted, then a training whose learning rate is a guess from the model's size, and whose",
            "steps are one from the number of captions (docs/finding.md).",
        ]
    with written_whole(path) as unfinished:
        unfinished.write_text("".join(f"# {line}\n" for line in opening) + "\n" + to_toml(recipe), encoding="utf-8")
