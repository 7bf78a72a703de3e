"""The decision: measured numbers against the limits of the recipe. What was not measured is never passed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from excise.prompts.concept import CONCEPT
from excise.prompts.questions import ATTACKED, NEVER_SEEN, Kind, Place, Question, question
from excise.recipe import Verdict as Limits
from excise.verdict.audit_checks import audit_checks
from excise.verdict.concept_checks import AGREEMENT, concept_checks
from excise.verdict.making import NO_SUCH_KIND, make_check
from excise.verdict.models import Check, Estimate, ModelResult, Relation, Threshold, Usefulness
from excise.verdict.search_checks import SEARCHES, TRUSTED, search_checks
from excise.verdict.searched import Comparison, Point

_RIGHT = ("passed", "not required", "not applicable")
NO_JUDGE = "the recipe names no judge (validate.judge), or no judged caption names what it reads"
_NO_NEIGHBOURS = "the recipe names no neighbours of the memorized prompts (prompts.neighbours)"
_NONE_HELD_OUT = "no memorized prompt is held out: every one of the table is edited for"
_UNSEEN = "the edit was not checked on any memorized prompt that locating had not seen"
_UNSEARCHED = (
    f"{_UNSEEN}, and not searched for images that come back by other means; hold some out (prompts.held_out), or make "
    "the attack 'embedding' beside a twin or never-seen images"
)
HELD_OUT_VERBATIM, HELD_OUT_TEMPLATE = (Question(Place.HELD_OUT, kind) for kind in Kind)
LIMITS = {
    HELD_OUT_VERBATIM: "held_out_replication",
    Question(Place.LOCATED, Kind.VERBATIM): "located_replication",
    HELD_OUT_TEMPLATE: "template_replication",
    Question(Place.LOCATED, Kind.TEMPLATE): "template_replication",
}
"""Key of the recipe's ``[verdict]`` that limits the edited model's memorization rate on each question."""
IDENTIFIED = (HELD_OUT_VERBATIM, Question(Place.LOCATED, Kind.VERBATIM))
"""Questions on which the edited model's identification rate is limited. Of templates, the part that varies decides."""
UNUSED = (Place.HELD_OUT, Place.HELD_OUT_CONCEPT)
"""Places of prompts that an edit must have been tried on: locating had not seen them."""


def decide(
    models: Mapping[str, ModelResult],
    threshold: Threshold,
    kinds: Iterable[str],
    limits: Limits,
    attacks: Mapping[str, Point] | None = None,
    comparisons: Sequence[Comparison] = (),
    whole: bool = False,
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Every check, and the reasons against acceptance; the edit is accepted when there is none.

    An edit has to hold where it was not fitted: on held-out prompts, or, where none is held out, against a search that
    is bound to no prompt.

    Args:
        models: by name, with at least ``base`` and ``edited``.
        threshold: the rule, and how often it errs.
        kinds: kinds of memorized prompt in the recipe's table; a check of another kind is not applicable. Where they
            name a concept, there are no checks of images.
        limits: the recipe's.
        attacks: what was searched by; a check of an attack that was not made is not there.
        comparisons: what that brought back, as `excise.verdict.compare` gives it.
        whole: whether no memorized prompt is held out, so that the edit is of all that are named.
    """
    kinds, searched, kept = set(kinds), tuple[Check, ...](), _kept(models, limits)
    if CONCEPT in kinds:
        whole, checks = False, (*concept_checks(models, limits), *kept)
    else:
        at = (Place.LOCATED,) if whole else (Place.HELD_OUT, Place.LOCATED)
        searched = search_checks(attacks or {}, comparisons, kinds, limits, at)
        told = audit_checks(models, kinds, limits, at)
        checks = (*_checks(models, threshold, kinds, limits, whole), *kept, *searched, *told)
    reasons = [_reason(check) for check in checks if check.status not in _RIGHT]
    of_edited = [(check.set, check.status) for check in checks if check.name in (*LIMITS.values(), AGREEMENT)]
    held_out = {status for key, status in of_edited if key is not None and question(key).place in UNUSED}
    if whole and not any(check.name == SEARCHES[TRUSTED] and check.value is not None for check in searched):
        reasons.append(_UNSEARCHED)
    elif not whole and not held_out & {"passed", "failed"}:
        reasons.append(_UNSEEN)
    return checks, tuple(reasons)


def decide_attacked(
    models: Mapping[str, ModelResult],
    kinds: Iterable[str],
    limits: Limits,
    attacks: Mapping[str, Point],
    comparisons: Sequence[Comparison],
) -> tuple[Check, ...]:
    """The checks of a checkpoint that was edited elsewhere: what replay brings back, and what searches do.

    Args: as of `decide`; ``models`` with at least ``edited``.
    """
    kinds = set(kinds)
    names = {Kind.VERBATIM: "held_out_replication", Kind.TEMPLATE: "template_replication"}
    asked = [(found, names[found.kind]) for found in ATTACKED if found.kind in kinds]
    replays = [_replication(models, "edited", found, name, limits, "at most") for found, name in asked]
    searched = search_checks(attacks, comparisons, kinds, limits, (Place.ATTACKED,))
    return (*replays, *searched, *audit_checks(models, kinds, limits, (Place.ATTACKED,)))


def asked_of_base(kinds: Collection[str], whole: bool = False) -> Question:
    """Where the base must replicate: on held-out verbatim prompts, or on templates where there are no others; on
    located ones where none is held out."""
    place = Place.LOCATED if whole else Place.HELD_OUT
    return Question(place, Kind.VERBATIM if Kind.VERBATIM in kinds else Kind.TEMPLATE)


def missing_of(asked: Question) -> str:
    """Why nothing is measured on a question that has no prompts."""
    if asked == NEVER_SEEN:
        return "the recipe names no never-seen images (prompts.never_seen)"
    return f"no {asked.kind} prompt with a training image is {asked.place.replace('_', ' ')}"


def _checks(
    models: Mapping[str, ModelResult], threshold: Threshold, kinds: set[str], limits: Limits, whole: bool
) -> tuple[Check, ...]:
    def why_not(asked: Question) -> str | None:
        if asked.kind not in kinds:
            return NO_SUCH_KIND
        return _NONE_HELD_OUT if whole and asked.place == Place.HELD_OUT else None

    def replication(model: str, asked: Question, name: str, relation: Relation) -> Check:
        return _replication(models, model, asked, name, limits, relation, why_not(asked))

    null = threshold.never_seen
    return (
        replication("base", asked_of_base(kinds, whole), "base_replication", "at least"),
        make_check(
            "false_positives",
            "never-seen images that count as replicated, base",
            "base",
            NEVER_SEEN.key,
            limits.false_positives,
            found=Estimate(value=null.false_positive_rate, interval=null.interval) if null else None,
            cases=null.prompts if null else None,
            missing=missing_of(NEVER_SEEN),
        ),
        *(replication("edited", asked, name, "at most") for asked, name in LIMITS.items()),
        *(_identification(models, asked, limits, why_not(asked)) for asked in IDENTIFIED),
    )


def _kept(models: Mapping[str, ModelResult], limits: Limits) -> tuple[Check, ...]:
    """Checks of what is to stay."""
    others = {name: found for name, found in models.items() if name not in ("base", "edited")}
    return (
        *_usefulness("", "ordinary prompts", models["edited"], others, limits),
        *_usefulness("neighbour_", "neighbours", models["edited"].neighbours,
                     {name: other.neighbours for name, other in others.items() if other.neighbours}, limits),
    )  # fmt: skip


def _usefulness(
    prefix: str,
    asked: str,
    found: ModelResult | Usefulness | None,
    others: Mapping[str, ModelResult | Usefulness],
    limits: Limits,
) -> tuple[Check, Check]:
    """Checks of what the edited model still draws, on ordinary prompts or on neighbours of the memorized ones."""
    applicable = found is not None
    agreement = found.agreement if found else None
    return (
        make_check(
            f"{prefix}agreement_drop",
            f"loss of caption agreement on {asked}, edited against base",
            "edited",
            None,
            getattr(limits, f"{prefix}agreement_drop"),
            found=agreement.drop if agreement else None,
            cases=agreement.prompts if agreement else None,
            controls={name: other.agreement.drop for name, other in others.items() if other.agreement},
            missing=NO_JUDGE,
            inapplicable=None if applicable else _NO_NEIGHBOURS,
        ),
        make_check(
            f"{prefix}drift",
            f"drift of images for {asked}, edited against base",
            "edited",
            None,
            getattr(limits, f"{prefix}drift"),
            found=found.drift if found else None,
            controls={name: other.drift for name, other in others.items()},
            missing="the base gives the same image at every seed",
            inapplicable=None if applicable else _NO_NEIGHBOURS,
        ),
    )


def _identification(
    models: Mapping[str, ModelResult], asked: Question, limits: Limits, inapplicable: str | None
) -> Check:
    """A check of how often an image is nearest to its own training image, beside what the twin or chance gives."""
    rates = {name: found.sets[asked.key].identification for name, found in models.items() if asked.key in found.sets}
    found, limit = rates.pop("edited", None), None
    if limits.identification is not None and found is not None:
        twin, chance = rates.get("twin"), models["edited"].sets[asked.key].identification_chance or 0.0
        limit = round(min(1.0, (twin.value if twin else 2 * chance) + limits.identification), 6)
    elif limits.identification is not None:
        limit = limits.identification
    return make_check(
        "identification",
        f"{asked.label} images whose own training image is the nearest, edited",
        "edited",
        asked.key,
        limit,
        found=found,
        controls=rates,
        cases=models["edited"].sets[asked.key].clusters if found else None,
        missing=f"fewer than two {asked.kind} training images are {asked.place.replace('_', ' ')}",
        inapplicable=inapplicable,
    )


def _replication(
    models: Mapping[str, ModelResult],
    model: str,
    asked: Question,
    name: str,
    limits: Limits,
    relation: Relation,
    inapplicable: str | None = None,
) -> Check:
    """A check of one model's memorization rate on one question, with every other model's beside it."""
    rates = {other: found.sets[asked.key].rate for other, found in models.items() if asked.key in found.sets}
    found = rates.pop(model, None)
    return make_check(
        name,
        f"replication of {asked.label} prompts, {model}",
        model,
        asked.key,
        getattr(limits, name),
        relation=relation,
        found=found,
        cases=models[model].sets[asked.key].clusters if found else None,
        controls=rates,
        missing=missing_of(asked),
        inapplicable=inapplicable,
    )


def _reason(check: Check) -> str:
    if check.value is None or check.limit is None:
        waive = f'or waive the check knowingly with verdict.{check.name} = "unchecked"'
        return f"{check.question}: not measured, because {check.note}; provide it, {waive}"
    said = f"{check.value:.3f}, must be {check.relation} {check.limit:g}"
    if check.is_rate:
        said = f"{100 * check.value:.1f} %, must be {check.relation} {100 * check.limit:g} %"
    return f"{check.question}: {said}"
