"""Prompt tables, and the splits that keep a template on one side."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from editor.errors import ExciseError
from editor.near import near_clusters
from editor.recipe import Recipe
from editor.tables import Table, read_table


@dataclass(frozen=True)
class Prompt:
    """One row of a prompt table."""

    text: str
    image: Path | None = None
    """The training image, where known."""
    mask: Path | None = None
    """White on the part of the image that counts; None counts all of it."""
    group: str = ""
    """Rows of one group stay together in every split; a row without one is a group of its own."""
    kind: str = "verbatim"
    sources: tuple[str, ...] = ()
    """What else says that prompts belong together: addresses of one training image, numbers of one template."""


def read_prompts(path: Path, column: str | None = None) -> tuple[Prompt, ...]:
    """The prompts of a table, in order.

    Raises:
        ExciseError: as `read_table`, and for a named image that is not there.
    """
    return prompts_of(path, read_table(path, column))


def prompts_of(path: Path, table: Table) -> tuple[Prompt, ...]:
    """The prompts of a table that was read from ``path``.

    Raises:
        ExciseError: a named image or mask that is not beside the table.
    """
    prompts = []
    for row in table.rows:
        beside = {name: path.parent / file if (file := getattr(row, name)) else None for name in ("image", "mask")}
        for name, file in beside.items():
            if file and not file.is_file():
                raise ExciseError(f"{path}: line {row.number}: {name} {getattr(row, name)!r} is not beside the table")
        prompts.append(Prompt(row.text, group=row.group, kind=row.kind, sources=row.sources, **beside))
    return tuple(prompts)


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


@dataclass(frozen=True)
class PromptSets:
    """Every prompt of a job, dealt out. No prompt stands in two of the sets."""

    located: tuple[tuple[Prompt, ...], ...]
    """Memorized prompts that locating sees, in disjoint groups."""
    held_out: tuple[Prompt, ...]
    """Memorized prompts that only validation sees."""
    contrast: tuple[Prompt, ...]
    """Ordinary prompts for ``locate.contrast = "ordinary"``."""
    control: tuple[tuple[Prompt, ...], ...]
    """Ordinary prompts treated as if they were memorized: as many groups as ``located``, each as large."""
    judged: tuple[Prompt, ...]
    never_seen: tuple[Prompt, ...]
    notes: tuple[str, ...] = ()
    """What was read, left out, found twice and grouped, a sentence each."""


def describe(key: str, table: Table, prompts: tuple[Prompt, ...]) -> str:
    """What was made of a table, in a sentence."""
    twice = len(prompts) - len({prompt.text for prompt in prompts})
    parts = [f"{len(prompts)} prompts" + (f" from column {table.column!r}" if table.column else "")]
    parts += [f"{table.empty} empty lines left out"] if table.empty else []
    parts += [f"{table.not_memorized} labelled as not memorized left out"] if table.not_memorized else []
    parts += [f"{twice} that stand there before"] if twice else []
    parts += [f"columns not used: {', '.join(table.unused)}"] if table.unused else []
    return f"prompts.{key}: {'; '.join(parts)}"


def group_near(prompts: tuple[Prompt, ...], least: float) -> tuple[Prompt, ...]:
    """The prompts with a group for every cluster of near-duplicates; one that is like no other stays without."""
    clusters = near_clusters([prompt.text for prompt in prompts], least)
    sizes = Counter(clusters)
    return tuple(
        replace(prompt, group=f"near-{cluster}") if sizes[cluster] > 1 else prompt
        for prompt, cluster in zip(prompts, clusters, strict=True)
    )


def prompt_sets(recipe: Recipe) -> PromptSets:
    """Read the recipe's tables and deal them out; the same recipe gives the same sets.

    Raises:
        ExciseError: as `read_prompts`; an overlap between tables; too few prompts for the groups asked for.
    """
    tables, notes = recipe.prompts, []

    def read(key: str) -> tuple[Prompt, ...]:
        path = getattr(tables, key)
        if path is None:
            return ()
        table = read_table(path, tables.column, memorized=key == "memorized")
        prompts = prompts_of(path, table)
        notes.append(describe(key, table, prompts))
        return prompts

    memorized, ordinary, judged, never_seen = map(read, ("memorized", "ordinary", "judged", "never_seen"))
    if tables.near is not None and not any(prompt.group for prompt in memorized):
        memorized = group_near(memorized, tables.near)
        grouped = [prompt.group for prompt in memorized if prompt.group]
        notes.append(
            f"prompts.memorized: no group column; {len(grouped)} near-duplicates were found, in "
            f"{len(set(grouped))} templates (prompts.near = {tables.near})"
        )
    _refuse_overlap(recipe, memorized, ordinary, judged, never_seen)
    located, held_out = split_by_group(memorized, 1.0 - tables.held_out, tables.seed)
    hands = deal(located, recipe.collect.groups, tables.seed)
    sizes = [len(hand) for hand in hands]
    if len(ordinary) < sum(sizes) + max(sizes):
        raise ExciseError(
            f"{tables.ordinary}: {len(ordinary)} ordinary prompts; the control groups take {sum(sizes)} and the "
            f"contrast at least {max(sizes)} more: give at least {sum(sizes) + max(sizes)}"
        )
    shuffled = list(ordinary)
    random.Random(f"{tables.seed}/ordinary").shuffle(shuffled)
    control, start = [], 0
    for size in sizes:
        control.append(tuple(shuffled[start : start + size]))
        start += size
    return PromptSets(hands, held_out, tuple(shuffled[start:]), tuple(control), judged, never_seen, tuple(notes))


def _refuse_overlap(recipe: Recipe, *sets: tuple[Prompt, ...]) -> None:
    tables = recipe.prompts
    names = (tables.memorized, tables.ordinary, tables.judged, tables.never_seen)
    seen: dict[str, Path | None] = {}
    for name, prompts in zip(names, sets, strict=True):
        for text in {prompt.text for prompt in prompts}:
            if text in seen:
                raise ExciseError(f"{name}: prompt {text!r} also stands in {seen[text]}; each set needs its own")
            seen[text] = name
