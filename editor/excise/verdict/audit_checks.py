"""Checks of what an audit tells of the edited model: can who holds an image tell that it was trained on?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from excise.prompts.questions import Kind, Place, Question
from excise.recipe import Verdict as Limits
from excise.verdict.making import NO_SUCH_KIND, make_check
from excise.verdict.models import Check, Membership, ModelResult

MEMBERSHIP = "membership"
"""Key of ``[verdict]`` that limits how many images may be told."""


def audit_checks(
    models: Mapping[str, ModelResult], kinds: set[str], limits: Limits, places: Sequence[Place]
) -> tuple[Check, ...]:
    """A check for each place of verbatim images; none where there was no audit."""
    if not any(model.membership for model in models.values()):
        return ()
    return tuple(_check(models, Question(place, Kind.VERBATIM), kinds, limits) for place in places)


def _check(models: Mapping[str, ModelResult], asked: Question, kinds: set[str], limits: Limits) -> Check:
    told = {name: model.membership[asked.key] for name, model in models.items() if asked.key in model.membership}
    found = told.get("edited")
    return make_check(
        MEMBERSHIP,
        f"audit, {asked.label} images that are called trained on, edited",
        "edited",
        asked.key,
        limits.membership,
        found=found.rate if found else None,
        cases=len(found.scores) if found else None,
        controls={name: one.rate for name, one in told.items() if name != "edited"},
        remark=_said(told),
        missing=f"no {asked.kind} prompt with a training image is {asked.place.replace('_', ' ')}",
        inapplicable=None if asked.kind in kinds else NO_SUCH_KIND,
    )


def _said(told: Mapping[str, Membership]) -> str:
    """What is known of the images as a set, where none of them is told alone."""
    pairs = ", ".join(f"{name} {100 * one.pairs:.0f} %" for name, one in told.items())
    both = f"; edited, as a set: p = {told['edited'].together:.2g}" if "edited" in told else ""
    return (
        f"pairs in which an image looks more like a trained one than a never-seen one does (chance 50 %): {pairs}{both}"
    )
