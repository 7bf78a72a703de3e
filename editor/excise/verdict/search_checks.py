"""Checks of what searches bring back, and what became of the images: hidden, or gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from excise.prompts.questions import Kind, Place, Question
from excise.recipe import Verdict as Limits
from excise.verdict.making import make_check
from excise.verdict.models import Check
from excise.verdict.searched import Comparison, Fate, Point

SEARCHES = {"embedding": "embedding_replication"}
"""Attack to the key of ``[verdict]`` that limits what it may bring back more than from a model that never saw it."""
STRONG = 0.95
"""Share of the base's images that a search must bring back for its silence to be trusted."""
_NEITHER = "there is neither a twin (model.twin) nor a never-seen image (prompts.never_seen) to compare with"


def search_checks(
    attacks: Mapping[str, Point], comparisons: Sequence[Comparison], kinds: set[str], limits: Limits
) -> tuple[Check, ...]:
    """For each attack that was made and each kind and place of image, the point at which it brings most back."""
    made = {point.attack for point in attacks.values()}
    asked = [Question(place, kind) for kind in Kind for place in (Place.HELD_OUT, Place.LOCATED)]
    return tuple(
        _check(attack, name, attacks, comparisons, question, kinds, limits)
        for attack, name in SEARCHES.items()
        for question in asked
        if attack in made
    )


def _check(
    attack: str,
    name: str,
    attacks: Mapping[str, Point],
    comparisons: Sequence[Comparison],
    asked: Question,
    kinds: set[str],
    limits: Limits,
) -> Check:
    found = [one for one in comparisons if attacks[one.attack].attack == attack and one.set == asked.key]
    worst = max(found, key=lambda one: one.difference.value, default=None)
    kind = asked.kind or ""
    tried = not comparisons or any(one.set.endswith(kind) for one in comparisons)
    inapplicable = None if kind in kinds else "the memorized table has no prompt of this kind"
    if kind in kinds and not tried:
        inapplicable = f"the recipe searches for no {kind} image (attack.{attack}.kinds)"
    return make_check(
        name,
        f"{attack} search, {asked.label} images: replication over that of a model that never saw them, edited",
        "edited",
        asked.key,
        getattr(limits, name),
        found=worst.difference if worst else None,
        cases=worst.images if worst else None,
        controls={"base": worst.base, **({"twin": worst.control} if worst.against == "twin" else {})} if worst else {},
        remark=said(worst) if worst else "",
        missing=f"no such image was searched for, or {_NEITHER}",
        inapplicable=inapplicable,
    )


def said(found: Comparison) -> str:
    """A comparison in words, at the point that it is of."""
    against = "the twin" if found.against == "twin" else "it brings never-seen images back"
    verb = "of" if found.against == "twin" else "as"
    return (
        f"most at {found.attack}: {100 * found.edited.value:.0f} % of the edited model, "
        f"{100 * found.control.value:.0f} % {verb} {against}, {100 * found.base.value:.0f} % of the base; "
        f"p = {found.p:.2g}, q = {found.q:.2g} over all attacks"
    )


def fate_of(checks: Sequence[Check], comparisons: Sequence[Comparison]) -> Fate:
    """What became of the images: found by replay, or only by search, or no more than by a model that never saw them.

    A check that the recipe waives is held to excise's own limit here: a word is not waived.
    """
    replays = [check for check in checks if check.model == "edited" and check.name.endswith("_replication")]
    if any(_fails(check) for check in replays if check.name not in SEARCHES.values()):
        return "still there"
    searched = [check for check in replays if check.name in SEARCHES.values() and check.value is not None]
    if not searched or not comparisons:
        return "not searched"
    if any(_fails(check) for check in searched):
        return "hidden"
    return "gone" if strength(comparisons) >= STRONG else "unclear"


def strength(comparisons: Sequence[Comparison]) -> float:
    """Share of the base's images that the strongest search brings back, on the set where that is least; 1 without any.

    The base has these images: a search that does not find them there shows nothing by not finding them elsewhere.
    """
    best: dict[str, float] = {}
    for found in comparisons:
        best[found.set] = max(best.get(found.set, 0.0), found.base.value)
    return min(best.values(), default=1.0)


def _fails(check: Check) -> bool:
    limit = check.limit if check.limit is not None else Limits.model_fields[check.name].default
    return check.value is not None and check.value > limit
