"""What models are asked: a place in the splits, and a kind of memorized prompt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from excise.errors import ExciseError
from excise.prompts.concept import CONCEPT
from excise.prompts.prompt import Prompt
from excise.prompts.sets import PromptSets


class Place(StrEnum):
    """Which part of the splits a prompt is in."""

    LOCATED = "located"
    """Memorized, and locating has seen it."""
    HELD_OUT = "held_out"
    """Memorized, and only validation sees it."""
    ATTACKED = "attacked"
    """Memorized, of a checkpoint that was edited elsewhere: what its edit has seen is not known."""
    UNPICTURED = "unpictured"
    """Memorized, by a table that names no training image."""
    LOCATED_CONCEPT = "located_concept"
    """Names the concept that is to be forgotten, and locating has seen it."""
    HELD_OUT_CONCEPT = "held_out_concept"
    """Names the concept, and only validation sees it."""
    NEVER_SEEN = "never_seen"
    """Of the memorized prompts' kind, with an image that is in no training set."""
    JUDGED = "judged"
    """Ordinary, for usefulness."""
    NEIGHBOURS = "neighbours"
    """In domain and wording as the memorized prompts, and not memorized: for usefulness too."""


class Kind(StrEnum):
    """What a model has memorized of a prompt's image."""

    VERBATIM = "verbatim"
    """All of it."""
    TEMPLATE = "template"
    """A layout, in which one part varies."""


MEMORIZED = (Place.LOCATED, Place.HELD_OUT)
"""Places of a job's memorized prompts."""


@dataclass(frozen=True)
class Question:
    """Prompts that every model is asked together, and that are measured together."""

    place: Place
    kind: Kind | None = None
    """Of memorized prompts; None elsewhere."""

    @property
    def key(self) -> str:
        """Its name in files: ``held_out_verbatim``, ``never_seen``."""
        return self.place if self.kind is None else f"{self.place}_{self.kind}"

    @property
    def label(self) -> str:
        """Its name for readers: ``held-out verbatim``, ``never seen``."""
        place = self.place.replace("held_out", "held-out").replace("_", " ")
        return place if self.kind is None else f"{place} {self.kind}"

    @property
    def memorized(self) -> bool:
        """Whether its prompts are memorized ones."""
        return self.place in (*MEMORIZED, Place.ATTACKED)


UNPICTURED, NEVER_SEEN, JUDGED, NEIGHBOURS = map(
    Question, (Place.UNPICTURED, Place.NEVER_SEEN, Place.JUDGED, Place.NEIGHBOURS)
)
CONCEPTS = tuple(map(Question, (Place.LOCATED_CONCEPT, Place.HELD_OUT_CONCEPT)))
"""Questions of which it is measured whether a model still draws the concept that is to be forgotten."""
USEFULNESS = (JUDGED, NEIGHBOURS)
"""Questions of which it is measured whether a model still draws what they ask for."""
UNSOUGHT = (UNPICTURED, *USEFULNESS)
"""Questions of which no image is searched for."""
UNMEASURED = (*CONCEPTS, *UNSOUGHT)
"""Questions whose prompts have no training image to be measured against."""
ASKED = (*(Question(place, kind) for place in MEMORIZED for kind in Kind), UNPICTURED, *CONCEPTS, NEVER_SEEN,
         *USEFULNESS)  # fmt: skip
"""Every question of a job, in the order in which it is asked."""
ATTACKED = tuple(Question(Place.ATTACKED, kind) for kind in Kind)
"""What a checkpoint is asked that was edited elsewhere, beside `NEVER_SEEN`."""
SHOWN = (*(Question(place, kind) for place in reversed(MEMORIZED) for kind in Kind), NEVER_SEEN)
"""Questions on which replication is measured, in the order in which they are shown: what was not used first."""


@cache
def question(key: str) -> Question:
    """The question of a name.

    Raises:
        KeyError: there is none of that name.
    """
    return {asked.key: asked for asked in (*ASKED, *ATTACKED)}[key]


def questions_of(sets: PromptSets) -> dict[Question, tuple[Prompt, ...]]:
    """The prompts of each question, in the order of `ASKED`; a question without prompts is left out.

    So are never-seen prompts without an image: there is nothing to compare with. Memorized ones without an image are
    asked of their own, to be looked at, and so are those that name a concept which is to be forgotten.

    Raises:
        ExciseError: an unknown kind of prompt.
        ValueError: a prompt is both located and held out.
    """
    located = tuple(prompt for group in sets.located for prompt in group)
    if {prompt.text for prompt in located} & {prompt.text for prompt in sets.held_out}:
        raise ValueError("a held-out prompt was used to locate")
    for prompt in (*located, *sets.held_out):
        if prompt.kind not in (*Kind, CONCEPT):
            raise ExciseError(
                f"prompts.memorized: {prompt.text!r} is of kind {prompt.kind!r}; known are {', '.join(Kind)}"
            )
    found = {}
    for place, prompts in ((Place.LOCATED, located), (Place.HELD_OUT, sets.held_out)):
        for kind in Kind:
            found[Question(place, kind)] = tuple(p for p in prompts if p.kind == kind and p.image)
    found[UNPICTURED] = tuple(p for p in (*located, *sets.held_out) if p.kind != CONCEPT and not p.image)
    for asked, prompts in zip(CONCEPTS, (located, sets.held_out), strict=True):
        found[asked] = tuple(prompt for prompt in prompts if prompt.kind == CONCEPT)
    found[NEVER_SEEN] = tuple(prompt for prompt in sets.never_seen if prompt.image)
    found[JUDGED], found[NEIGHBOURS] = sets.judged, sets.neighbours_judged
    return {asked: prompts for asked, prompts in found.items() if prompts}
