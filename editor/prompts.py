"""Prompt tables, and the splits that keep a template on one side."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from editor.errors import ExciseError
from editor.recipe import Recipe

COLUMNS = ("prompt", "image", "mask", "group", "kind")


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


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The rows of a CSV table of prompts, in order.

    Raises:
        ExciseError: missing file, no ``prompt`` column, unknown column, no row, empty prompt, or a named image
            that is not there.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header, rows = tuple(reader.fieldnames or ()), list(reader)
    except OSError as error:
        raise ExciseError(f"{path}: prompt table cannot be read ({error.strerror}); correct its path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExciseError(f"{path}: not a UTF-8 CSV table: {error}") from error
    if "prompt" not in header:
        raise ExciseError(f"{path}: no column 'prompt' in the header {list(header)}; add a header line")
    if unknown := [name for name in header if name not in COLUMNS]:
        raise ExciseError(f"{path}: unknown column {unknown[0]!r}; known are {', '.join(COLUMNS)}")
    if not rows:
        raise ExciseError(f"{path}: the table has no prompt; give at least one")
    prompts = []
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ExciseError(f"{path}: line {number}: not as many fields as the header; quote prompts with commas")
        if not row["prompt"].strip():
            raise ExciseError(f"{path}: line {number}: empty prompt; remove the line")
        beside = {}
        for column in ("image", "mask"):
            name = row.get(column) or ""
            beside[column] = path.parent / name if name else None
            if name and not (path.parent / name).is_file():
                raise ExciseError(f"{path}: line {number}: {column} {name!r} is not beside the table")
        prompts.append(
            Prompt(
                text=row["prompt"],
                image=beside["image"],
                mask=beside["mask"],
                group=row.get("group") or "",
                kind=row.get("kind") or "verbatim",
            )
        )
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
    """Indices that must stay together, in order of first appearance: rows with one group, one text or one image."""
    home: dict[tuple[str, str], list[int]] = {}
    for i, prompt in enumerate(prompts):
        marks = [("text", prompt.text)]
        marks += [("group", prompt.group)] if prompt.group else []
        marks += [("image", str(prompt.image))] if prompt.image else []
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


def prompt_sets(recipe: Recipe) -> PromptSets:
    """Read the recipe's tables and deal them out; the same recipe gives the same sets.

    Raises:
        ExciseError: as `read_prompts`; an overlap between tables; too few prompts for the groups asked for.
    """
    tables = recipe.prompts
    memorized, ordinary = read_prompts(tables.memorized), read_prompts(tables.ordinary)
    judged = read_prompts(tables.judged)
    never_seen = read_prompts(tables.never_seen) if tables.never_seen else ()
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
    return PromptSets(hands, held_out, tuple(shuffled[start:]), tuple(control), judged, never_seen)


def _refuse_overlap(recipe: Recipe, *sets: tuple[Prompt, ...]) -> None:
    tables = recipe.prompts
    names = (tables.memorized, tables.ordinary, tables.judged, tables.never_seen)
    seen: dict[str, Path | None] = {}
    for name, prompts in zip(names, sets, strict=True):
        for text in {prompt.text for prompt in prompts}:
            if text in seen:
                raise ExciseError(f"{name}: prompt {text!r} also stands in {seen[text]}; each set needs its own")
            seen[text] = name
