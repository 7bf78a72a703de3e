"""The models under test."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.edits import Edit, method
from excise.prompts.questions import NEVER_SEEN, UNPICTURED, Question
from excise.recipe import RandomEdit, Recipe
from excise.run.layout import Run
from excise.run.material import RunMaterial

BASE, EDITED, TWIN, RANDOM = "base", "edited", "twin", "random"
COLOURS = {BASE: "#4d4d4d", EDITED: "#1f6fb2", TWIN: "#7fb58a", RANDOM: "#d9a441"}


@dataclass(frozen=True)
class Subject:
    """A model under test: a checkpoint, with or without a change in memory."""

    name: str
    label: str
    colour: str
    """Of its bars in figures, ``#rrggbb``."""
    checkpoint: Path
    change: Callable[[], Edit] | None = field(default=None, compare=False)
    """Fits the edit that is applied in memory while it draws; None for a checkpoint as it is."""

    def asked(self, questions: Collection[Question]) -> list[Question]:
        """The questions that it is asked.

        Two models suffice for never-seen prompts, which show the rule's errors, and for those without a training image,
        which are looked at.
        """
        return [asked for asked in questions if asked not in (NEVER_SEEN, UNPICTURED) or self.name in (BASE, EDITED)]


def subjects_of(recipe: Recipe, run: Run, base: Checkpoint) -> tuple[Subject, ...]:
    """The models under test, in the verdict's order: base, edited, twin if there is one, random controls."""
    path = recipe.model.path
    subjects = [Subject(BASE, "base", COLOURS[BASE], path), Subject(EDITED, "edited", COLOURS[EDITED], run.edited)]
    if recipe.model.twin is not None:
        subjects.append(Subject(TWIN, "twin", COLOURS[TWIN], recipe.model.twin))
    for draw in range(1, recipe.validate_.random_edits + 1):
        change = partial(_control, recipe, run, base, draw)
        subjects.append(Subject(f"{RANDOM}-{draw}", f"random edit {draw}", COLOURS[RANDOM], path, change))
    return tuple(subjects)


def subjects_at(checkpoints: Mapping[str, Path]) -> tuple[Subject, ...]:
    """Models that are there already, as they are, by name: `BASE`, `EDITED`, `TWIN`."""
    return tuple(Subject(name, name, COLOURS[name], path) for name, path in checkpoints.items())


def _control(recipe: Recipe, run: Run, base: Checkpoint, draw: int) -> Edit:
    """The random edit of a number: as large per site as what was located."""
    return method(RANDOM).fit(RunMaterial.of(run, recipe, base, RANDOM, RandomEdit(draw=draw)))
