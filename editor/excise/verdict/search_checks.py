"""Checks of what searches bring back, and what became of the images: hidden, or gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from excise.prompts.questions import Kind, Place, Question, question
from excise.recipe import Verdict as Limits
from excise.verdict.concept_checks import AGREEMENT, fate_of_concept
from excise.verdict.making import NO_SUCH_KIND, STRONG, exceeds, make_check
from excise.verdict.models import Check
from excise.verdict.searched import Comparison, Fate, Point

SEARCHES = {"embedding": "embedding_replication", "prompt": "prompt_replication", "relearn": "relearning"}
"""Attack to the key of ``[verdict]`` that limits what it may bring back more than from a model that never saw it."""
SAID = {"embedding": "embedding search", "prompt": "prompt search", "relearn": "relearning"}
"""What they are called."""
TRUSTED = "embedding"
"""The attack whose hold on the base's images says whether silence means anything. The others begin at the captions: the
base gives its images for these unasked, so what comes back of it shows no strength."""
_NEITHER = "there is neither a twin (model.twin) nor a never-seen image (prompts.never_seen) to compare with"


def search_checks(
    attacks: Mapping[str, Point],
    comparisons: Sequence[Comparison],
    kinds: set[str],
    limits: Limits,
    places: Sequence[Place] = (Place.HELD_OUT, Place.LOCATED),
) -> tuple[Check, ...]:
    """For each attack that was made and each kind and place of image, the point at which it brings most back."""
    made = {point.attack for point in attacks.values()}
    asked = [Question(place, kind) for kind in Kind for place in places]
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
    of_attack = [one.set for one in comparisons if attacks[one.attack].attack == attack]
    tried = not of_attack or any(name.endswith(kind) for name in of_attack)
    inapplicable = None if kind in kinds else NO_SUCH_KIND
    if kind in kinds and not tried:
        inapplicable = f"the recipe searches for no {kind} image (attack.{attack}.kinds)"
    made = make_check(
        name,
        f"{SAID[attack]}, {asked.label} images: replication over that of a model that never saw them, edited",
        "edited",
        asked.key,
        getattr(limits, name),
        found=worst.difference if worst else None,
        cases=worst.images if worst else None,
        controls={"base": worst.base, "twin": worst.control if worst.against == "twin" else None} if worst else {},
        remark=said(worst) if worst else "",
        missing=f"no such image was searched for, or {_NEITHER}",
        inapplicable=inapplicable,
    )
    most = max((one.base.value for one in found if one.base), default=1.0)
    if made.status != "passed" or most >= STRONG:
        return made
    weak = f"it brings back {100 * most:.0f} % of the base's images at most: passing it says little"
    return made.model_copy(update={"note": f"{made.note}; {weak}"})


def said(found: Comparison) -> str:
    """A comparison in words, at the point that it is of."""
    against = "the twin" if found.against == "twin" else "it brings never-seen images back"
    verb = "of" if found.against == "twin" else "as"
    base = f", {100 * found.base.value:.0f} % of the base" if found.base else ""
    return (
        f"most at {found.attack}: {100 * found.edited.value:.0f} % of the edited model, "
        f"{100 * found.control.value:.0f} % {verb} {against}{base}; "
        f"p = {found.p:.2g}, q = {found.q:.2g} over all attacks"
    )


def fate_of(checks: Sequence[Check], comparisons: Sequence[Comparison]) -> Fate:
    """What became of the images: found by replay, or only by search, or no more than by a model that never saw them.

    A check that the recipe waives is held to excise's own limit here: a word is not waived. Any attack's success makes
    the images hidden; only where embedding search is strong, and was made on every kind of image that was replayed,
    does the failure of all make them gone. A concept's is told by its own checks.
    """
    if any(check.name == AGREEMENT for check in checks):
        return fate_of_concept(checks)
    own = [check for check in checks if check.model == "edited"]
    replays = [check for check in own if check.name.endswith("_replication") and check.name not in SEARCHES.values()]
    if any(exceeds(check) for check in replays):
        return "still there"
    searched = [check for check in own if check.name in SEARCHES.values() and check.value is not None]
    if not searched or not comparisons:
        return "not searched"
    if any(exceeds(check) for check in searched):
        return "hidden"
    found = strength(comparisons)
    asked = [check for check in replays if check.value is not None and check.status != "not applicable"]
    replayed = [check.set for check in asked if check.set is not None]
    strong = found is not None and found >= STRONG and not unsearched(replayed, comparisons)
    return "gone" if strong else "unclear"


def unsearched(replayed: Iterable[str], comparisons: Sequence[Comparison]) -> list[str]:
    """Kinds of memorized image that replay asked for and embedding search did not.

    Args:
        replayed: keys of the questions.
        comparisons: what was searched.
    """
    kinds = [asked.kind for asked in map(question, replayed) if asked.memorized and asked.kind]
    tried = {question(found.set).kind for found in comparisons if found.attack.partition("/")[0] == TRUSTED}
    return [str(kind) for kind in dict.fromkeys(kinds) if kind not in tried]


def strength(comparisons: Sequence[Comparison]) -> float | None:
    """Share of the base's images that embedding search brings back, on the set where that is least; None where it was
    not made of the base.

    The base has these images: a search that does not find them there shows nothing by not finding them elsewhere.
    """
    best: dict[str, float] = {}
    for found in comparisons:
        if found.attack.partition("/")[0] == TRUSTED and found.base is not None:
            best[found.set] = max(best.get(found.set, 0.0), found.base.value)
    return min(best.values(), default=None)
