"""Numbers of a verdict that cannot all be true: shares of counts, bounds, and what must be the recipe's.

That the numbers were measured, none of this shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.edits.edit_record import weights_changed
from excise.mathematics.intervals import wilson
from excise.prompts.concept import CONCEPT
from excise.prompts.questions import ASKED, JUDGED, NEVER_SEEN, Kind, Place, question
from excise.recipe import Recipe
from excise.release.names import RECORD
from excise.release.provenance import Record
from excise.run.layout import Run
from excise.trial.rounds import seeds_of
from excise.trial.subjects import BASE, EDITED, TWIN, Subject, subjects_of
from excise.verdict.estimates import COMPARED
from excise.verdict.models import Agreement, Estimate, Interval, ModelResult, Replication, Threshold, Verdict

ROUNDED = 1e-6
"""Numbers are recorded with six decimals."""
STATED = ("sampling", "attack", "validate", "verdict")
"""Sections of the recipe that a verdict repeats; ``model`` names folders of the machine it ran on."""


def number_faults(folder: Path, record: Record, recipe: Recipe) -> Iterator[str]:
    """What contradicts itself or the recipe in a record's numbers, each in a sentence.

    Args:
        folder: of the release.
        record: its record.
        recipe: the record's recipe.

    Raises:
        ExciseError: the folder is no checkpoint.
    """
    for where, fault in _faults(record, recipe, subjects_of(recipe, Run(folder), Checkpoint.open(folder))):
        yield f"{RECORD}: {where}: {fault}"


Faults = Iterator[tuple[str, str]]


def _faults(record: Record, recipe: Recipe, subjects: tuple[Subject, ...]) -> Faults:
    verdict = record.verdict
    yield from _repeated(record, recipe)
    if verdict.models.keys() != (named := {subject.name for subject in subjects}):
        yield "verdict.models", f"{sorted(verdict.models)}, where the recipe asks for {sorted(named)}"
        return
    asked = [found for found in ASKED if found != JUDGED and found.key in verdict.base.sets]
    for subject in subjects:
        found, where = verdict.models[subject.name], f"verdict.models.{subject.name}"
        if (found.label, found.colour) != (subject.label, subject.colour):
            yield where, f"called {found.label!r}, {found.colour}, and it is {subject.label!r}, {subject.colour}"
        if found.sets.keys() != (keys := {one.key for one in subject.asked(asked)}):
            yield f"{where}.sets", f"{sorted(found.sets)}, where it was asked for {sorted(keys)}"
            continue
        yield from _model(where, found, verdict, recipe)
    changed = {BASE: 0, EDITED: weights_changed(record.edit.tensors), TWIN: None}
    for name in changed.keys() & verdict.models.keys():
        if (stated := verdict.models[name].weights_changed) != changed[name]:
            yield f"verdict.models.{name}.weights_changed", f"{stated}, and edit.tensors makes {changed[name]}"
    yield from _evidence(verdict)
    yield from _threshold(verdict.threshold, verdict, recipe)


def _repeated(record: Record, recipe: Recipe) -> Faults:
    """What the record says twice."""
    verdict, stated = record.verdict, recipe.model_dump(mode="json", by_alias=True)
    for section in STATED:
        if verdict.settings.get(section) != stated[section]:
            yield f"verdict.settings.{section}", "not that of the recipe"
    if verdict.settings.keys() - {*STATED, "model"}:
        yield "verdict.settings", f"holds more than {', '.join(STATED)}"
    if verdict.recipe != recipe.name:
        yield "verdict.recipe", f"{verdict.recipe!r}, and the recipe is called {recipe.name!r}"
    kinds = {str(found.kind) for found in map(question, verdict.base.sets) if found.memorized}
    if not kinds <= set(verdict.kinds) <= {*Kind, CONCEPT}:
        yield "verdict.kinds", f"{sorted(verdict.kinds)}, and of {sorted(kinds)} there are numbers"
    seeds = {
        "prompts.seed": recipe.prompts.seed,
        "collect.seed": recipe.collect.seed,
        "validate.seed": recipe.validate_.seed,
        "validate.seeds": recipe.validate_.seeds,
    }
    if record.seeds != seeds:
        yield "seeds", "not those of the recipe"
    release = recipe.release
    if record.publish.model_dump() != release.model_dump(include=set(record.publish.model_dump())):
        yield "publish", "not what the recipe asks of the repository"
    if record.signed is not (release.key is not None):
        yield "signed", f"{record.signed}, and the recipe names {'a' if release.key else 'no'} key"
    asked = {key: found.prompts for key, found in verdict.base.sets.items() if question(key).memorized}
    texts = record.prompts.texts
    if (texts is not None) is not release.prompts:
        yield "prompts.texts", "there, or left out, against the recipe"
    elif texts is not None and {key: len(prompts) for key, prompts in texts.items()} != asked:
        yield "prompts.texts", "not as many as were asked"
    tables = {
        f"prompts.{key}" for key in ("memorized", "ordinary", "judged", "never_seen") if getattr(recipe.prompts, key)
    }
    if record.prompts.tables.keys() != tables:
        yield "prompts.tables", f"{sorted(record.prompts.tables)}, where the recipe names {sorted(tables)}"


def _model(where: str, found: ModelResult, verdict: Verdict, recipe: Recipe) -> Faults:
    """One model's numbers, and the base's beside them."""
    base = verdict.base
    for key, measured in found.sets.items():
        yield from ((f"{where}.sets.{key}", fault) for fault in _replication(measured, verdict.threshold))
        first = base.sets[key]
        if (measured.prompts, measured.clusters) != (first.prompts, first.clusters):
            yield f"{where}.sets.{key}", "of other prompts than the base's"
        if measured.seeds != len(seeds_of(recipe, question(key))):
            yield f"{where}.sets.{key}.seeds", f"{measured.seeds}, not the recipe's"
    if found is base and (found.drift or (found.agreement and found.agreement.drop)):
        yield where, "the base has no drift from itself, and no loss"
    if (found.agreement is None) is not (base.agreement is None):
        yield f"{where}.agreement", "measured of one model, and not of another"
    if found.agreement and base.agreement:
        yield from (
            (f"{where}.agreement", fault) for fault in agreement_faults(found.agreement, base.agreement, found is base)
        )
        counted = found.agreement.prompts + found.agreement.prompts_without_label
        if counted != verdict.evidence.judged or found.agreement.seeds != len(seeds_of(recipe, JUDGED)):
            yield f"{where}.agreement", f"of {counted} prompts, where {verdict.evidence.judged} were judged"
    for key, estimate in (("drift", found.drift), ("seed_diversity", found.seed_diversity)):
        yield from ((f"{where}.{key}", fault) for fault in _distance(estimate))


def _replication(found: Replication, threshold: Threshold) -> Iterator[str]:
    """A question of one model."""
    cases, limit, rate = found.prompts * found.seeds, threshold.value, found.memorization_rate
    if not 1 <= found.clusters <= found.prompts or not found.seeds:
        yield f"{found.clusters} independent ones of {found.prompts} prompts at {found.seeds} seeds"
        return
    yield from _share("memorization_rate", rate, cases, found.interval, found.clusters)
    ever = found.images_ever_replicated
    yield from _share(
        "images_ever_replicated", ever, found.prompts, found.images_ever_replicated_interval, found.clusters
    )
    if not rate - ROUNDED <= ever <= rate * found.seeds + found.seeds * ROUNDED:
        yield f"{ever} of its prompts replicate at some seed, and {rate} of its images"
    if not 0.0 <= found.smallest_distance <= found.median_distance + ROUNDED or abs(found.mean_ssim) > 1.0 + ROUNDED:
        yield "distances and similarity that cannot be"
    if rate > 0.0 and found.smallest_distance > limit + ROUNDED:
        yield f"some replicate, and none is nearer than {found.smallest_distance}"
    if threshold.ssim is None:  # then distance alone decides
        if rate == 0.0 and found.smallest_distance < limit - ROUNDED:
            yield f"none replicates, and one is at {found.smallest_distance}, under {limit}"
        if (rate > 0.5 and found.median_distance > limit + ROUNDED) or (
            rate < 0.5 and found.median_distance < limit - ROUNDED
        ):
            yield f"{rate} replicate, and half of them are at {found.median_distance} or nearer"
    if (found.median_sscd is None) is not (found.largest_sscd is None):
        yield "a median similarity without the largest, or the reverse"
    median, largest = found.median_sscd or 0.0, found.largest_sscd or 0.0
    if not -1.0 - ROUNDED <= median <= largest + ROUNDED <= 1.0 + 2 * ROUNDED:
        yield "SSCD similarities that cannot be"
    yield from _distance(found.seed_diversity)


def _share(name: str, rate: float, cases: int, interval: Interval, clusters: int) -> Iterator[str]:
    """A share of so many cases, whose interval is at least that of as many independent ones."""
    if abs(rate * cases - round(rate * cases)) > cases * ROUNDED:
        yield f"{name}: {rate} is no share of {cases}"
    if interval is None:
        yield f"{name}: no interval"
        return
    least = wilson(rate, clusters)
    if interval[0] > least.low + ROUNDED or interval[1] < least.high - ROUNDED:
        yield f"{name}: an interval from {interval[0]} to {interval[1]}, too narrow for {clusters} independent prompts"


def agreement_faults(found: Agreement, base: Agreement, is_base: bool) -> Iterator[str]:
    """What cannot be in how often a judge agrees, beside the base's."""
    cases = found.prompts * found.seeds
    yield from _share("rate", found.rate, cases, found.interval, max(1, found.prompts))
    if not is_base:
        drop = found.drop.value if found.drop else None
        if drop is None or abs(drop - (base.rate - found.rate)) > 3 * ROUNDED:
            yield f"drop: {drop}, where the base's rate is {base.rate} and this one {found.rate}"
        if found.drop and found.drop.interval and not _ordered(found.drop.interval, -1.0, 1.0):
            yield "drop: an interval that cannot be"


def _distance(found: Estimate | None) -> Iterator[str]:
    if found and (found.value < 0.0 or (found.interval and not _ordered(found.interval, 0.0, float("inf")))):
        yield f"{found.value} with its interval cannot be"


def _ordered(interval: tuple[float, float], lowest: float, highest: float) -> bool:
    return lowest - ROUNDED <= interval[0] <= interval[1] <= highest + ROUNDED


def _evidence(verdict: Verdict) -> Faults:
    """How many prompts there were: those with a training image were asked, the others counted."""
    evidence, without = verdict.evidence, 0
    places = {Place.LOCATED: evidence.located, Place.HELD_OUT: evidence.held_out, Place.NEVER_SEEN: evidence.never_seen}
    for place, count in places.items():
        asked = sum(found.prompts for key, found in verdict.base.sets.items() if question(key).place == place)
        without += count - asked
        if asked > count:
            yield f"verdict.evidence.{place}", f"{count}, and {asked} were asked"
    if without != evidence.without_image:
        yield "verdict.evidence.without_image", f"{evidence.without_image}, and {without} were not asked"


def _threshold(found: Threshold, verdict: Verdict, recipe: Recipe) -> Faults:
    """The rule is the recipe's; its errors are shares of the pairs that there were."""
    rule = recipe.validate_
    if (found.value, found.ssim, found.tiles) != (rule.threshold, rule.ssim, rule.tiles):
        yield "verdict.threshold", "not the recipe's"
    null, asked = found.never_seen, verdict.base.sets.get(NEVER_SEEN.key)
    if null is None or asked is None:
        if (null is None) is not (asked is None):
            yield "verdict.threshold.never_seen", "without pictures for never-seen prompts, or these without it"
        return
    where, cases = "verdict.threshold.never_seen", asked.prompts * asked.seeds
    if (null.prompts, null.seeds) != (asked.prompts, asked.seeds):
        yield where, "of other prompts than those that were asked"
    if null.pairs != cases * min(asked.prompts, COMPARED):
        yield where, f"{null.pairs} pairs, and {cases} images were each compared with {min(asked.prompts, COMPARED)}"
    shares = (
        ("false_positive_rate", null.false_positive_rate, null.pairs, null.interval),
        ("own_rate", null.own_rate, cases, null.own_interval),
    )
    for name, rate, of, interval in shares:
        yield from ((where, fault) for fault in _share(name, rate, of, interval, asked.clusters))
    if null.smallest_distance > asked.smallest_distance + ROUNDED or null.smallest_distance < 0.0:
        yield (
            where,
            f"the closest pair at {null.smallest_distance}, and an image at {asked.smallest_distance} of its own",
        )
