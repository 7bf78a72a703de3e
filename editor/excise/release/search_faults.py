"""What a record says of searches, against what follows from what they brought back, image by image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from excise.prompts.questions import NEVER_SEEN, question
from excise.recipe import Recipe
from excise.trial.found import points_of
from excise.trial.rounds import REPLAY, rounds_of
from excise.trial.subjects import BASE, EDITED, Subject
from excise.trial.telling import AUDITED, audited
from excise.verdict.compare import certify, compare
from excise.verdict.estimates import membership
from excise.verdict.models import Verdict
from excise.verdict.searched import Attacked


def search_faults(verdict: Verdict, recipe: Recipe) -> Iterator[str]:
    """What contradicts the recipe or itself, each in a sentence that begins with the field.

    Args:
        verdict: of a record.
        recipe: the record's.
    """
    attacks, rows = points_of(recipe), verdict.attacked
    if verdict.attacks != attacks:
        yield "attacks: not those of the recipe"
        return
    for place, row in enumerate(rows):
        where = f"attacked.{place}"
        if not question(row.set).memorized and row.set != NEVER_SEEN.key:
            yield f"{where}.set: {row.set!r} is no set of images"
        if not set(row.hits) <= set(attacks) or any(not _made_on(row, key) <= set(row.hits[key]) for key in row.hits):
            yield f"{where}.hits: of attacks or models that there are not, or without base and edited model"
        elif any(count > attacks[key].seeds for key, hits in row.hits.items() for count in hits.values()):
            yield f"{where}.hits: more images than were drawn"
        if not all(-2.0 <= value <= 1.0 for value in row.likeness.values()):
            yield f"{where}.likeness: beyond what there can be"
    yield from _asked(verdict, recipe)
    yield from _audited(verdict, recipe)
    yield from _rates(verdict)
    if verdict.comparisons != compare(attacks, rows):
        yield "comparisons: not what follows from what was brought back"
    if verdict.certificates != certify(attacks, rows, recipe.verdict.false_discovery):
        yield "certificates: not what follows from what was brought back"


def _asked(verdict: Verdict, recipe: Recipe) -> Iterator[str]:
    """Every model was attacked as the recipe says, on as many images."""
    for found in (found for found in rounds_of(recipe) if found.attack != REPLAY):
        for name, model in verdict.models.items():
            subject = Subject(name, model.label, model.colour, Path(model.checkpoint))
            asked = {one.key for one in found.questions(subject, [question(key) for key in model.sets])}
            for key in found.keys:
                there = model.other_attacks.get(key, {})
                if there.keys() != asked:
                    yield f"models.{name}.other_attacks.{key}: {sorted(there)}, where it was asked for {sorted(asked)}"
                for one in there.keys() & asked:
                    whole, limit = model.sets[one].prompts, found.settings.images if found.settings else None
                    if there[one].prompts != (whole if limit is None else min(limit, whole)):
                        yield f"models.{name}.other_attacks.{key}.{one}: not as many images as the recipe says"


def _audited(verdict: Verdict, recipe: Recipe) -> Iterator[str]:
    """What an audit tells is of the images that the recipe says, and follows from their scores."""
    settings, drawn = recipe.attack.audit, verdict.base.sets.get(NEVER_SEEN.key)
    seen = drawn.prompts if drawn else 0  # those of the table that have an image
    for name, model in verdict.models.items():
        memorized = [one.key for one in audited(map(question, model.sets)) if one != NEVER_SEEN]
        asked = memorized if settings and name in AUDITED else []
        where = f"models.{name}.membership"
        if sorted(model.membership) != sorted(asked):
            yield f"{where}: {sorted(model.membership)}, where it was audited for {sorted(asked)}"
            continue
        for key, found in model.membership.items():
            count = model.sets[key].prompts
            most = min(count, (settings and settings.images) or count)
            if (len(found.scores), len(found.reference)) != (most, seen):
                yield f"{where}.{key}: not as many images as the recipe and its tables say"
            elif found != membership(found.scores, found.reference, recipe.verdict.false_discovery):
                yield f"{where}.{key}: not what follows from its scores"


def _rates(verdict: Verdict) -> Iterator[str]:
    """Every rate under a search is that of its images."""
    for name, model in verdict.models.items():
        for key, sets in model.other_attacks.items():
            for asked, found in sets.items():
                hits = [row.hits[key].get(name, 0) for row in verdict.attacked if row.set == asked and key in row.hits]
                rate = sum(hits) / (len(hits) * found.seeds) if hits else 0.0
                if len(hits) != found.prompts or abs(rate - found.memorization_rate) > 1e-6:
                    yield f"models.{name}.other_attacks.{key}.{asked}: not the rate of its images"


def _made_on(row: Attacked, key: str) -> set[str]:
    """Models that an attack was made on; never-seen images are searched for in the edited one alone."""
    return {EDITED} if row.set == NEVER_SEEN.key and key != REPLAY else {BASE, EDITED}
