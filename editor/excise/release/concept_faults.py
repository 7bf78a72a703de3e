"""Numbers on a concept that is to be forgotten, which cannot all be true."""

from __future__ import annotations

from collections.abc import Iterator

from excise.prompts.concept import CONCEPT
from excise.prompts.questions import CONCEPTS
from excise.recipe import Recipe
from excise.release.number_faults import agreement_faults
from excise.trial.rounds import seeds_of
from excise.trial.subjects import BASE
from excise.verdict.models import Verdict


def concept_faults(verdict: Verdict, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Where, and what contradicts the recipe, or itself."""
    if verdict.concept != recipe.prompts.concept:
        yield "verdict.concept", f"{verdict.concept!r}, and the recipe's is {recipe.prompts.concept!r}"
    if (CONCEPT in verdict.kinds) is not (verdict.concept is not None):
        yield "verdict.kinds", f"{sorted(verdict.kinds)}, and the concept is {verdict.concept!r}"
    evidence, base = verdict.evidence, verdict.base.concept
    counts = dict(zip((one.key for one in CONCEPTS), (evidence.located, evidence.held_out), strict=True))
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
