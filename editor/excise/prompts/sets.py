"""Every prompt of a job, dealt out by the recipe."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from excise.errors import ExciseError
from excise.prompts.near_duplicates import cluster_near_duplicates
from excise.prompts.prompt import Prompt, prompts_of
from excise.prompts.splits import deal, split_by_group
from excise.prompts.tables import Table, read_table
from excise.recipe import Recipe


@dataclass(frozen=True)
class PromptSets:
    """Every prompt of a job, dealt out. No prompt is in two of the sets; of ordinary ones, duplicates are dropped."""

    located: tuple[tuple[Prompt, ...], ...]
    """Memorized prompts that locating sees, in disjoint groups."""
    held_out: tuple[Prompt, ...]
    """Memorized prompts that only validation sees."""
    contrast: tuple[Prompt, ...]
    """Ordinary prompts for ``locate.contrast = "ordinary"``."""
    control: tuple[tuple[Prompt, ...], ...]
    """Ordinary prompts treated as if they were memorized: as many groups as ``located``, each as large. Empty where
    there are too few and the recipe asks for no evidence."""
    judged: tuple[Prompt, ...]
    never_seen: tuple[Prompt, ...]
    notes: tuple[str, ...] = ()
    """What was read, left out, found twice and grouped, a sentence each."""


def describe(key: str, table: Table, prompts: tuple[Prompt, ...]) -> str:
    """What was made of a table, in a sentence."""
    duplicates = len(prompts) - len({prompt.text for prompt in prompts})
    parts = [f"{len(prompts)} prompts" + (f" from column {table.column!r}" if table.column else "")]
    parts += [f"{table.empty} empty lines left out"] if table.empty else []
    parts += [f"{table.not_memorized} labelled as not memorized left out"] if table.not_memorized else []
    parts += [f"{duplicates} duplicates"] if duplicates else []
    parts += [f"columns not used: {', '.join(table.unused)}"] if table.unused else []
    return f"prompts.{key}: {'; '.join(parts)}"


def group_near_duplicates(prompts: tuple[Prompt, ...], least: float) -> tuple[Prompt, ...]:
    """The prompts with a group for every cluster of near-duplicates; one that is like no other stays without."""
    clusters = cluster_near_duplicates([prompt.text for prompt in prompts], least)
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
    if tables.near_duplicates is not None and not any(prompt.group for prompt in memorized):
        memorized = group_near_duplicates(memorized, tables.near_duplicates)
        grouped = [prompt.group for prompt in memorized if prompt.group]
        notes.append(
            f"prompts.memorized: no group column; {len(grouped)} near-duplicates were found, in "
            f"{len(set(grouped))} templates (prompts.near_duplicates = {tables.near_duplicates})"
        )
    _refuse_overlap(recipe, memorized, ordinary, judged, never_seen)
    located, held_out = split_by_group(memorized, 1.0 - tables.held_out, tables.seed)
    hands = deal(located, recipe.collect.groups, tables.seed)
    shuffled = list({prompt.text: prompt for prompt in ordinary}.values())  # else one could be in control and contrast
    random.Random(f"{tables.seed}/ordinary").shuffle(shuffled)
    control, start = [], 0
    for size in _control_sizes(recipe, hands, len(shuffled)):
        control.append(tuple(shuffled[start : start + size]))
        start += size
    return PromptSets(hands, held_out, tuple(shuffled[start:]), tuple(control), judged, never_seen, tuple(notes))


def _control_sizes(recipe: Recipe, hands: tuple[tuple[Prompt, ...], ...], ordinary: int) -> list[int]:
    """Sizes of the control groups: those of the located groups; none where too few ordinary prompts are not missed.

    Raises:
        ExciseError: too few ordinary prompts for the evidence that the recipe asks for.
    """
    sizes = [len(hand) for hand in hands]
    need = sum(sizes) + max(sizes)
    if ordinary >= need:
        return sizes
    if recipe.locate.evidence:
        raise ExciseError(
            f"{recipe.prompts.ordinary}: {ordinary} ordinary prompts; the control groups take {sum(sizes)} and the "
            f"contrast at least {max(sizes)} more: give at least {need}, or set locate.evidence = false"
        )
    return []


def _refuse_overlap(recipe: Recipe, *sets: tuple[Prompt, ...]) -> None:
    tables = recipe.prompts
    names = (tables.memorized, tables.ordinary, tables.judged, tables.never_seen)
    seen: dict[str, Path | None] = {}
    for name, prompts in zip(names, sets, strict=True):
        for text in {prompt.text for prompt in prompts}:
            if text in seen:
                raise ExciseError(f"{name}: prompt {text!r} is also in {seen[text]}; each set needs its own")
            seen[text] = name
