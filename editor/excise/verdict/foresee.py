"""What a verdict will not be able to measure, told before the work."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from excise.prompts.concept import CONCEPT
from excise.prompts.questions import NEVER_SEEN, Place, Question
from excise.recipe import Verdict as Limits
from excise.verdict import concept_checks
from excise.verdict.decide import IDENTIFIED, LIMITS, NO_JUDGE, UNUSED, asked_of_base, missing_of


def foreseen(
    asked: Collection[Question],
    kinds: Collection[str],
    limits: Limits,
    reads: bool,
    shown: bool = False,
    whole: bool = False,
    searched: bool = False,
) -> tuple[str, ...]:
    """Required checks that there will be nothing to measure with, in sentences that say what to do.

    Args:
        asked: the questions that there are prompts for.
        kinds: as in `decide`.
        limits: the recipe's.
        reads: whether there is a judge, and it reads some judged caption.
        shown: whether there is a judge that reads the concept which is to be forgotten, where there is one.
        whole: as in `decide`.
        searched: whether images are searched for by embeddings, with something to compare with.
    """
    whole = whole and CONCEPT not in kinds
    found: dict[str, list[str]] = {}
    for name, why in _of_concept(asked, shown) if CONCEPT in kinds else _of_images(asked, kinds, whole):
        if getattr(limits, name) is not None:
            found.setdefault(why, []).append(name)
    if limits.agreement_drop is not None and not reads:
        found[NO_JUDGE] = ["agreement_drop"]
    notes = [
        f"{', '.join(f'verdict.{name}' for name in names)}: cannot be measured, because {why}: the verdict will "
        'refuse; provide it, or waive the check knowingly with "unchecked"'
        for why, names in found.items()
    ]
    if whole and not searched:
        notes.append(
            "prompts.held_out: no memorized prompt is held out, and an edit that was tried on none is refused, "
            "whatever is waived, unless its images are searched for: hold some out, or add 'embedding' to "
            "attack.methods, with model.twin or prompts.never_seen to compare with"
        )
    elif not whole and not any(ask.place in UNUSED for ask in asked):
        what = "prompt that names the concept" if CONCEPT in kinds else "memorized prompt with a training image"
        notes.append(
            f"prompts.held_out: no {what} is held out, and an edit that was tried on "
            "none is refused, whatever is waived; give more such prompts, or another share"
        )
    return tuple(notes)


def _of_images(asked: Collection[Question], kinds: Collection[str], whole: bool) -> Iterator[tuple[str, str]]:
    """Checks that lack their images, and why."""
    needed = [("base_replication", asked_of_base(kinds, whole)), ("false_positives", NEVER_SEEN)]
    needed += [(name, ask) for ask, name in LIMITS.items()] + [("identification", ask) for ask in IDENTIFIED]
    for name, ask in needed:
        if ask not in asked and ask.kind in (None, *kinds) and not (whole and ask.place == Place.HELD_OUT):
            yield name, missing_of(ask)


def _of_concept(asked: Collection[Question], shown: bool) -> Iterator[tuple[str, str]]:
    """The same of checks of a concept."""
    for name, ask in concept_checks.ASKED:
        if not shown or ask not in asked:
            yield name, concept_checks.missing_of(ask)
