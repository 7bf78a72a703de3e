"""The prompts that a sweep reads: none of those that a verdict will rest on."""

from __future__ import annotations

from dataclasses import replace

from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.prompts.sets import PromptSets


def swept_sets(sets: PromptSets, count: int) -> PromptSets:
    """The located prompts, what they are contrasted with, and spare prompts by which usefulness is measured.

    Held-out, judged and never-seen prompts are not in it, so that nothing made of it can read them. What stands in for
    the judged ones is left out of the contrast: no edit that is compared is fitted on it.

    Args:
        sets: of the job.
        count: spare prompts that are wanted, ordinary ones and, where there are some, neighbours.

    Raises:
        ExciseError: no ordinary prompt can be spared.
    """
    beside = bool(sets.neighbours or sets.neighbours_judged)
    control = tuple(prompt for group in sets.control for prompt in group)
    judged, contrast = _spared(() if beside else control, sets.contrast, count)
    near, neighbours = _spared(control if beside else (), sets.neighbours, count)
    if not judged:
        raise ExciseError(
            f"prompts.ordinary: {len(sets.contrast)} are left to contrast with, and none of them can be spared to "
            "measure usefulness by; give more"
        )
    return replace(
        sets,
        held_out=(),
        contrast=contrast,
        control=(),
        judged=judged,
        never_seen=(),
        neighbours=neighbours,
        neighbours_judged=near,
    )


def _spared(
    unused: tuple[Prompt, ...], pool: tuple[Prompt, ...], count: int
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """``count`` prompts, unused ones first and then the end of a pool, of which at least half stays; and what stays."""
    taken = min(max(0, count - len(unused)), len(pool) // 2)
    stays = len(pool) - taken
    return (*unused[:count], *pool[stays:]), pool[:stays]
