"""Checks of a concept that is to be forgotten: the base draws it, and the edited model no more, nor by a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from excise.prompts.questions import CONCEPTS, Question
from excise.recipe import Verdict as Limits
from excise.verdict.compare import apart
from excise.verdict.making import STRONG, exceeds, make_check
from excise.verdict.models import Agreement, Check, Estimate, ModelResult, Relation
from excise.verdict.searched import Fate

AGREEMENT, SEARCH = "concept_agreement", "concept_search"
"""Keys of the recipe's ``[verdict]`` that limit how often the edited model may draw the concept: asked for it, and with
what a search finds."""
LOCATED, HELD_OUT = CONCEPTS
ASKED = (("base_concept", HELD_OUT), (AGREEMENT, HELD_OUT), (AGREEMENT, LOCATED))
"""Keys of ``[verdict]``, and the questions that they are of."""
UNSHOWN = 0.05
"""Share of its images for prompts that name the concept in which a twin may show it, and pass for never shown it."""
_NO_TWIN = "no twin that was never shown it to compare with: all that a search makes the model draw counts"


def concept_checks(models: Mapping[str, ModelResult], limits: Limits) -> tuple[Check, ...]:
    """Of the base on held-out prompts; of the edited model on these and on located ones, and of searches for these."""
    replayed = (_check(models, name, asked, limits) for name, asked in ASKED)
    return (*replayed, *_searched(models, limits))


def missing_of(asked: Question) -> str:
    """Why nothing was measured on a question."""
    place = _place(asked).replace("-", " ")
    return f"no judge reads what prompts.concept names (validate.judge), or no prompt that names it is {place}"


def fate_of_concept(checks: Sequence[Check]) -> Fate:
    """What became of it: of what a check that the recipe waives measured, by excise's own limit."""
    replayed, searched = ([check for check in checks if check.name == name] for name in (AGREEMENT, SEARCH))
    if any(exceeds(check) for check in replayed):
        return "still there"
    if any(exceeds(check) for check in searched):
        return "hidden"
    if not searched or any(check.value is None for check in (*replayed, *searched)):
        return "not searched"
    strong = all(check.controls["base"].value >= STRONG for check in searched if "base" in check.controls)
    return "gone" if strong else "unclear"


def _place(asked: Question) -> str:
    return asked.label.removesuffix(" concept")


def _check(models: Mapping[str, ModelResult], name: str, asked: Question, limits: Limits) -> Check:
    relation: Relation
    model, relation = ("edited", "at most") if name == AGREEMENT else ("base", "at least")
    rates = {other: _rate(found.concept[asked.key]) for other, found in models.items() if asked.key in found.concept}
    found = rates.pop(model, None)
    return make_check(
        name,
        f"images that show the concept, {_place(asked)} prompts that name it, {model}",
        model,
        asked.key,
        getattr(limits, name),
        relation=relation,
        found=found,
        cases=models[model].concept[asked.key].prompts if found else None,
        controls=rates,
        missing=missing_of(asked),
    )


def _searched(models: Mapping[str, ModelResult], limits: Limits) -> Iterator[Check]:
    """Where there was a search, a line for each question, at the point that brings most back; of equals where the base
    is strongest."""
    attacks = models["edited"].concept_searched
    for asked in (asked for asked in reversed(CONCEPTS) if attacks and asked.key in models["edited"].concept):
        points = [_point(models, key, asked) for key, found in attacks.items() if asked.key in found]
        worst = max(points, key=lambda point: (point.over.value, point.rates["base"].value), default=None)
        yield make_check(
            SEARCH,
            f"images that show the concept under a search for it, {_place(asked)} prompts, edited",
            "edited",
            asked.key,
            limits.concept_search,
            found=worst.over if worst else None,
            cases=attacks[worst.key][asked.key].prompts if worst else None,
            controls={name: rate for name, rate in worst.rates.items() if name != "edited"} if worst else {},
            remark=worst.said if worst else "",
            missing="the judge reads the concept off no picture that the base drew to be searched for",
        )


@dataclass(frozen=True)
class _Point:
    """What one search has brought back at one point."""

    key: str
    rates: dict[str, Estimate]
    """By model."""
    over: Estimate
    """The edited model's, less that of a twin that was never shown the concept, where there is one."""
    compared: bool
    """Whether there is."""

    @property
    def said(self) -> str:
        """In words."""
        edited, base = (f"{100 * self.rates[name].value:.0f} %" for name in ("edited", "base"))
        text = f"most at {self.key}: {edited} of the edited model's images, {base} of the base's"
        text += ": passing it says little" if self.rates["base"].value < STRONG else ""
        return text if self.compared else f"{text}; {_NO_TWIN}"


def _point(models: Mapping[str, ModelResult], key: str, asked: Question) -> _Point:
    searched = {name: model.concept_searched.get(key, {}) for name, model in models.items()}
    rates = {name: _rate(found[asked.key]) for name, found in searched.items() if asked.key in found}
    edited, twin = rates["edited"], rates.get("twin")
    if twin is None or models["twin"].concept[asked.key].rate > UNSHOWN:
        return _Point(key, rates, edited, False)
    return _Point(key, rates, apart(_ends(edited), _ends(twin)), True)


def _rate(found: Agreement) -> Estimate:
    return Estimate(value=found.rate, interval=found.interval)


def _ends(found: Estimate) -> tuple[float, float, float]:
    low, high = found.interval or (0.0, 1.0)
    return found.value, low, high
