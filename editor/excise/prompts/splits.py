"""Dealing prompts out, so that what belongs together stays together."""

from __future__ import annotations

import random
from collections import defaultdict

from excise.errors import ExciseError
from excise.prompts.prompt import Prompt


def split_by_group(prompts: tuple[Prompt, ...], share: float, seed: int) -> tuple[tuple[Prompt, ...], ...]:
    """Two parts, the first with about ``share`` of the prompts of every kind; what belongs together is never cut.

    The order within each part is that of ``prompts``.
    """
    chosen: set[int] = set()
    strata: dict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for bundle in bundles(prompts):
        strata[tuple(sorted({prompts[i].kind for i in bundle}))].append(bundle)
    for kinds, members in sorted(strata.items()):
        random.Random(f"{seed}/{'/'.join(kinds)}").shuffle(members)
        target, taken = share * sum(map(len, members)), 0
        for member in members:
            if taken + len(member) / 2 <= target:
                chosen.update(member)
                taken += len(member)
    first = tuple(prompt for i, prompt in enumerate(prompts) if i in chosen)
    return first, tuple(prompt for i, prompt in enumerate(prompts) if i not in chosen)


def deal(prompts: tuple[Prompt, ...], groups: int, seed: int) -> tuple[tuple[Prompt, ...], ...]:
    """Disjoint sets of nearly equal size whose union is ``prompts``; what belongs together stays in one set.

    Raises:
        ExciseError: fewer independent prompts than sets.
    """
    members = bundles(prompts)
    if len(members) < groups:
        raise ExciseError(
            f"collect.groups: {groups} disjoint sets asked for, but only {len(members)} independent prompts or "
            "templates are there to locate with; lower collect.groups or give more prompts"
        )
    random.Random(f"{seed}/deal").shuffle(members)
    members.sort(key=len, reverse=True)
    hands: list[list[int]] = [[] for _ in range(groups)]
    for member in members:
        min(hands, key=len).extend(member)
    return tuple(tuple(prompts[i] for i in sorted(hand)) for hand in hands)


def bundles(prompts: tuple[Prompt, ...]) -> list[list[int]]:
    """Indices that must stay together, in order of first appearance: rows with one group, text, image or source."""
    home: dict[tuple[str, str], list[int]] = {}
    for i, prompt in enumerate(prompts):
        marks = [("text", prompt.text)]
        marks += [("group", prompt.group)] if prompt.group else []
        marks += [("image", str(prompt.image))] if prompt.image else []
        marks += [("source", source) for source in prompt.sources]
        joined = [i]
        for known in {id(home[mark]): home[mark] for mark in marks if mark in home}.values():
            joined += known
        joined.sort()
        for mark in [*marks, *(mark for mark, known in home.items() if known[0] in joined)]:
            home[mark] = joined
    return sorted({id(bundle): bundle for bundle in home.values()}.values())
