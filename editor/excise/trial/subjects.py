"""The models under test."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from excise.edits import Edit, Material, method
from excise.prompts.questions import NEVER_SEEN, Question
from excise.recipe import RandomEdit, Recipe, Section
from excise.run.layout import Run

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
        """The questions that it is asked; never-seen prompts show the rule's errors, for which two models suffice."""
        return [asked for asked in questions if asked != NEVER_SEEN or self.name in (BASE, EDITED)]


Materials = Callable[[str, Section | None], Material]
"""What an edit is fitted on, by the name of its method and its settings."""


def subjects_of(recipe: Recipe, run: Run, material: Materials) -> tuple[Subject, ...]:
    """The models under test, in the verdict's order: base, edited, twin if there is one, random controls."""
    base = recipe.model.path
    subjects = [Subject(BASE, "base", COLOURS[BASE], base), Subject(EDITED, "edited", COLOURS[EDITED], run.edited)]
    if recipe.model.twin is not None:
        subjects.append(Subject(TWIN, "twin", COLOURS[TWIN], recipe.model.twin))
    for draw in range(1, recipe.validate_.random_edits + 1):
        change = _control(material, draw)
        subjects.append(Subject(f"{RANDOM}-{draw}", f"random edit {draw}", COLOURS[RANDOM], base, change))
    return tuple(subjects)


def _control(material: Materials, draw: int) -> Callable[[], Edit]:
    """Fits the random edit of a number: as large per site as what was located."""
    return lambda: method(RANDOM).fit(material(RANDOM, RandomEdit(draw=draw)))
