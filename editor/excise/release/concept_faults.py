"""Numbers on a concept that is to be forgotten, which cannot all be true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from excise.prompts.concept import CONCEPT
from excise.prompts.questions import CONCEPTS
from excise.recipe import Recipe
from excise.release.number_faults import agreement_faults
from excise.trial.rounds import SEEKS_CONCEPTS, rounds_of, seeds_of
from excise.trial.subjects import BASE, Subject
from excise.verdict.models import Verdict


def concept_faults(verdict: Verdict, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Where, and what contradicts the recipe, or itself."""
    if verdict.concept != recipe.prompts.concept:
        yield "verdict.concept", f"{verdict.concept!r}, and the recipe's is {recipe.prompts.concept!r}"
    if (CONCEPT in verdict.kinds) is not (verdict.concept is not None):
        yield "verdict.kinds", f"{sorted(verdict.kinds)}, and the concept is {verdict.concept!r}"
    evidence, base = verdict.evidence, verdict.base.concept
    counts = dict(zip((one.key for one in CONCEPTS), (evidence.located, evidence.held_out), strict=True))
    yield from _searched(verdict, recipe, counts)
    if base.keys() - counts.keys():
        yield "verdict.models.base.concept", f"{sorted(base)}, and there are {sorted(counts)}"
        return
    for name, model in verdict.models.items():
        where = f"verdict.models.{name}.concept"
        if model.concept.keys() != base.keys():
            yield where, f"{sorted(model.concept)}, where the base has {sorted(base)}"
            continue
        for asked in (asked for asked in CONCEPTS if asked.key in base):
            found, place = model.concept[asked.key], f"{where}.{asked.key}"
            yield from ((place, fault) for fault in agreement_faults(found, base[asked.key], name == BASE))
            if (found.prompts, found.prompts_without_label) != (counts[asked.key], 0):
                yield place, f"of {found.prompts} prompts, where there are {counts[asked.key]}"
            if found.seeds != len(seeds_of(recipe, asked)):
                yield f"{place}.seeds", f"{found.seeds}, not the recipe's"


def _searched(verdict: Verdict, recipe: Recipe, counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """The same of what searches for it drew; a question of which no picture to search for shows it is left out."""
    named = {question.key: question for question in CONCEPTS if question.key in verdict.base.concept}
    rounds = {key: found for found in rounds_of(recipe) if found.attack == SEEKS_CONCEPTS for key in found.keys}
    base = verdict.base.concept_searched
    for name, model in verdict.models.items():
        where = f"verdict.models.{name}.concept_searched"
        subject = Subject(name, model.label, model.colour, Path(model.checkpoint))
        asked = [key for key, found in rounds.items() if found.questions(subject, named.values())]
        there = {key: sets.keys() for key, sets in model.concept_searched.items()}
        if there != {key: base.get(key, {}).keys() for key in asked} or any(
            sets - named.keys() for sets in there.values()
        ):
            yield where, f"{sorted(there)}, where it was asked for {sorted(asked)}, on the base's prompts"
            continue
        for key, sets in model.concept_searched.items():
            settings = rounds[key].settings
            for question, found in sets.items():
                place, whole = f"{where}.{key}.{question}", counts[question]
                yield from ((place, fault) for fault in agreement_faults(found, base[key][question], name == BASE))
                most = whole if settings is None or settings.images is None else min(settings.images, whole)
                if found.prompts + found.prompts_without_label != most:
                    yield (
                        place,
                        f"of {found.prompts + found.prompts_without_label} images, where the recipe says {most}",
                    )
                if found.seeds != len(rounds[key].seeds(recipe, named[question])):
                    yield f"{place}.seeds", f"{found.seeds}, not the recipe's"
