"""Checks of a concept that is to be forgotten: the base draws it, and the edited model no more."""

from __future__ import annotations

from collections.abc import Mapping

from excise.prompts.questions import CONCEPTS, Question
from excise.recipe import Verdict as Limits
from excise.verdict.making import make_check
from excise.verdict.models import Agreement, Check, Estimate, ModelResult, Relation

AGREEMENT = "concept_agreement"
"""Key of the recipe's ``[verdict]`` that limits how often the edited model may draw the concept."""
LOCATED, HELD_OUT = CONCEPTS
ASKED = (("base_concept", HELD_OUT), (AGREEMENT, HELD_OUT), (AGREEMENT, LOCATED))
"""Keys of ``[verdict]``, and the questions that they are of."""


def concept_checks(models: Mapping[str, ModelResult], limits: Limits) -> tuple[Check, ...]:
    """Of the base on held-out prompts; of the edited model on these and on located ones."""
    return tuple(_check(models, name, asked, limits) for name, asked in ASKED)


def missing_of(asked: Question) -> str:
    """Why nothing was measured on a question."""
    place = asked.label.removesuffix(" concept").replace("-", " ")
    return f"no judge reads what prompts.concept names (validate.judge), or no prompt that names it is {place}"


def _check(models: Mapping[str, ModelResult], name: str, asked: Question, limits: Limits) -> Check:
    relation: Relation
    model, relation = ("edited", "at most") if name == AGREEMENT else ("base", "at least")
    rates = {other: _rate(found.concept[asked.key]) for other, found in models.items() if asked.key in found.concept}
    found = rates.pop(model, None)
    return make_check(
        name,
        f"images that show the concept, {asked.label.removesuffix(' concept')} prompts that name it, {model}",
        model,
        asked.key,
        getattr(limits, name),
        relation=relation,
        found=found,
        cases=models[model].concept[asked.key].prompts if found else None,
        controls=rates,
        missing=missing_of(asked),
    )


def _rate(found: Agreement) -> Estimate:
    return Estimate(value=found.rate, interval=found.interval)
