"""What a verdict will not be able to measure, told before the work."""

from __future__ import annotations

from collections.abc import Collection

from excise.prompts.questions import NEVER_SEEN, Place, Question
from excise.recipe import Verdict as Limits
from excise.verdict.decide import IDENTIFIED, LIMITS, NO_JUDGE, asked_of_base, missing_of


def foreseen(
    asked: Collection[Question],
    kinds: Collection[str],
    limits: Limits,
    reads: bool,
    whole: bool = False,
    searched: bool = False,
) -> tuple[str, ...]:
    """Required checks that there will be nothing to measure with, in sentences that say what to do.

    Args:
        asked: the questions that there are prompts for.
        kinds: as in `decide`.
        limits: the recipe's.
        reads: whether there is a judge, and it reads some judged caption.
        whole: as in `decide`.
        searched: whether images are searched for by embeddings, with something to compare with.
    """
    needed = [("base_replication", asked_of_base(kinds, whole)), ("false_positives", NEVER_SEEN)]
    needed += [(name, ask) for ask, name in LIMITS.items()] + [("identification", ask) for ask in IDENTIFIED]
    if whole:
        needed = [(name, ask) for name, ask in needed if ask.place != Place.HELD_OUT]
    found: dict[str, list[str]] = {}
    for name, ask in needed:
        if getattr(limits, name) is not None and ask not in asked and ask.kind in (None, *kinds):
            found.setdefault(missing_of(ask), []).append(name)
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
    elif not whole and not any(ask.place == Place.HELD_OUT for ask in asked):
        notes.append(
            "prompts.held_out: no memorized prompt with a training image is held out, and an edit that was tried on "
            "none is refused, whatever is waived; give more such prompts, or another share"
        )
    return tuple(notes)
