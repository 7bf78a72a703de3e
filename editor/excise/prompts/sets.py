"""Every prompt of a job, dealt out by the recipe."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path

from excise.errors import ExciseError
from excise.prompts.concept import parted
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
    """Neighbours of the memorized prompts treated as if they were memorized (without neighbours, ordinary prompts): as
    many groups as ``located``, each as large. Empty where there are too few and the recipe asks for no evidence."""
    judged: tuple[Prompt, ...]
    never_seen: tuple[Prompt, ...]
    neighbours: tuple[Prompt, ...] = ()
    """Neighbours for ``locate.contrast = "neighbours"``."""
    neighbours_judged: tuple[Prompt, ...] = ()
    """Neighbours that only validation sees."""
    notes: tuple[str, ...] = ()
    """What was read, left out, found twice and grouped, a sentence each."""


def describe(key: str, table: Table, prompts: tuple[Prompt, ...]) -> str:
    """What was made of a table, in a sentence."""
    duplicates = len(prompts) - len({prompt.text for prompt in prompts})
    parts = [f"{len(prompts)} prompts" + (f" from column {table.column!r}" if table.column else "")]
    parts += [f"{table.empty} empty lines left out"] if table.empty else []
    parts += [f"{table.not_memorized} labelled as not memorized left out"] if table.not_memorized else []
    parts += [f"{duplicates} duplicates"] if duplicates else []
    own = sum(prompt.self_target for prompt in prompts)
    parts += [f"{own} images are self-targets, drawn by the model itself, and no training images"] if own else []
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
        ExciseError: as `read_prompts`; an overlap between tables; too few prompts for the groups asked for; a memorized
            prompt that does not name the concept which is to be forgotten.
    """
    tables, notes = recipe.prompts, []

    def read(key: str) -> tuple[Prompt, ...]:
        path = getattr(tables, key)
        if path is None:
            return ()
        table = read_table(path, tables.column, memorized=key == "memorized")
        prompts = prompts_of(path, table)
        notes.append(describe(key, table, prompts))
        prompts, told = parted(key, path, prompts, tables.concept)
        notes.extend(told)
        return prompts

    memorized, ordinary, judged, never_seen = map(read, ("memorized", "ordinary", "judged", "never_seen"))
    neighbours = read("neighbours")
    alike = tables.near_duplicates if tables.concept is None else None
    if alike is not None and not any(prompt.group for prompt in memorized):
        memorized = group_near_duplicates(memorized, alike)
        grouped = [prompt.group for prompt in memorized if prompt.group]
        notes.append(
            f"prompts.memorized: no group column; {len(grouped)} near-duplicates were found, in "
            f"{len(set(grouped))} templates (prompts.near_duplicates = {alike})"
        )
    _refuse_overlap(recipe, memorized, ordinary, judged, never_seen, neighbours)
    located, held_out = split_by_group(memorized, 1.0 - tables.held_out, tables.seed)
    hands = deal(located, recipe.collect.groups, tables.seed)
    beside, beside_judged = split_by_group(_unique(neighbours), 0.5, tables.seed)
    pools = {key: _shuffled(found, f"{tables.seed}/{key}") for key, found in
             (("ordinary", _unique(ordinary)), ("neighbours", beside))}  # fmt: skip
    source = "neighbours" if neighbours else "ordinary"
    control = _control(recipe, source, hands, pools[source])
    taken = sum(map(len, control))
    pools[source] = pools[source][taken:]
    _refuse_no_contrast(recipe, pools["neighbours"])
    return PromptSets(
        located=hands,
        held_out=held_out,
        contrast=pools["ordinary"],
        control=control,
        judged=judged,
        never_seen=never_seen,
        neighbours=pools["neighbours"],
        neighbours_judged=beside_judged,
        notes=tuple(notes),
    )


def _unique(prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    """Without duplicates; else one could be in control and contrast."""
    return tuple({prompt.text: prompt for prompt in prompts}.values())


def _shuffled(prompts: tuple[Prompt, ...], seed: str) -> tuple[Prompt, ...]:
    order = list(prompts)
    random.Random(seed).shuffle(order)
    return tuple(order)


def _control(
    recipe: Recipe, source: str, hands: tuple[tuple[Prompt, ...], ...], pool: tuple[Prompt, ...]
) -> tuple[tuple[Prompt, ...], ...]:
    """Groups of the sizes of the located ones, from the front of a pool; none where too few are not missed.

    Raises:
        ExciseError: too few prompts for the evidence that the recipe asks for.
    """
    sizes = [len(hand) for hand in hands]
    need = sum(sizes) + max(sizes)
    if len(pool) >= need:
        ends = list(accumulate(sizes, initial=0))
        return tuple(pool[start:stop] for start, stop in pairwise(ends))
    if recipe.locate.evidence:
        what = "neighbours" if source == "neighbours" else "ordinary prompts"
        half = " in the half that locating sees" if source == "neighbours" else ""
        raise ExciseError(
            f"{getattr(recipe.prompts, source)}: {len(pool)} {what}{half}; the control groups take "
            f"{sum(sizes)} and the contrast at least {max(sizes)} more: give at least {need}, or set "
            "locate.evidence = false"
        )
    return ()


def _refuse_no_contrast(recipe: Recipe, neighbours: tuple[Prompt, ...]) -> None:
    if recipe.locate.contrast == "neighbours" and not neighbours:
        raise ExciseError(
            'locate.contrast = "neighbours": there are none; name a table of them as prompts.neighbours, or contrast '
            'with "ordinary"'
        )


def _refuse_overlap(recipe: Recipe, *sets: tuple[Prompt, ...]) -> None:
    tables = recipe.prompts
    names = (tables.memorized, tables.ordinary, tables.judged, tables.never_seen, tables.neighbours)
    seen: dict[str, Path | None] = {}
    for name, prompts in zip(names, sets, strict=True):
        for text in {prompt.text for prompt in prompts}:
            if text in seen:
                raise ExciseError(f"{name}: prompt {text!r} is also in {seen[text]}; each set needs its own")
            seen[text] = name
