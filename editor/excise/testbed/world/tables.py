"""The prompt tables that ship with the testbed, made from its planted table and its world."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np

from excise.testbed.world.planted import Planted
from excise.testbed.world.scenes import sample_scene
from excise.testbed.world.stream import World

JUDGED, NAMING = 60, 32
CONCEPTS = ("owl", "bicycle", "pumpkin")
"""Nouns that the recipes forget: an animal, a thing and a plant."""
OF_A_NOUN, WORKS = 4, 96
"""What is ordinary: scenes of each noun, and works."""
_JUDGED_FROM, _CONCEPTS_FROM, _ORDINARY_FROM = 2 * 10**9, 3 * 10**9, 4 * 10**9
COLUMNS = ("prompt", "image", "mask", "group", "kind")


def judged_captions(world: World, seed: int, number: int = JUDGED) -> list[str]:
    """Captions of scenes of one thing, in which every noun comes up about as often, each once."""
    found: dict[str, None] = {}
    for index in count(_JUDGED_FROM):
        rng = np.random.default_rng([seed, 20, index])
        noun = world.nouns[index % len(world.nouns)]
        found.setdefault(sample_scene(rng, (noun,), pairs=0.0).caption)
        if len(found) == number:
            return list(found)
    raise AssertionError("an endless stream has ended")


def concept_captions(world: World, seed: int, noun: str, number: int = NAMING) -> list[str]:
    """Captions of scenes of one thing, that of a noun, each once; none in `judged_captions`."""
    taken = set(judged_captions(world, seed))
    found: dict[str, None] = {}
    for index in count(_CONCEPTS_FROM):
        scene = sample_scene(np.random.default_rng([seed, 20, index]), (noun,), pairs=0.0)
        if scene.caption not in taken:
            found.setdefault(scene.caption)
        if len(found) == number:
            return list(found)
    raise AssertionError("an endless stream has ended")


def ordinary_captions(world: World, seed: int) -> list[str]:
    """Scenes of every noun, and works of all domains, each once; none in a table that judges or names a concept.

    An edit spares what it is shown, so that a noun which no ordinary caption names would be lost.
    """
    taken = set(judged_captions(world, seed))
    taken |= {caption for noun in CONCEPTS if noun in world.nouns for caption in concept_captions(world, seed, noun)}
    found: dict[str, None] = {}
    for number, noun in enumerate(world.nouns):
        rng, least = np.random.default_rng([seed, 21, number]), len(found) + OF_A_NOUN
        while len(found) < least:
            caption = sample_scene(rng, (noun,), pairs=0.0).caption
            if caption not in taken:
                found.setdefault(caption)
    works = len(found) + WORKS
    for index in count(_ORDINARY_FROM):
        domain, caption, _ = world.ordinary(seed, index)
        if domain != "scene" and caption not in taken:
            found.setdefault(caption)
        if len(found) == works:
            return list(found)
    raise AssertionError("an endless stream has ended")


def write_tables(world: World, planted: tuple[Planted, ...], neighbours: Sequence[tuple[str, Planted]], seed: int,
                 folder: Path, images: str = "../images") -> None:  # fmt: skip
    """Write the tables ``memorized``, ``ladder``, ``never_seen``, ``neighbours``, ``ordinary`` and ``judged``, and one
    of each of `CONCEPTS` that the world has, ``concept-owl`` for instance.

    Args:
        neighbours: captions, and the row that each neighbours; of a never-seen row the caption that it is asked by.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def rows(*kinds: str) -> list[dict[str, str]]:
        return [
            {
                "prompt": asked.get(entry.file, entry.caption),
                "image": f"{images}/{entry.file}",
                "mask": f"{images}/{entry.mask}" if entry.mask else "",
                "group": entry.group,
                "kind": "template" if entry.kind == "template" else "verbatim",
            }
            for entry in planted
            if entry.kind in kinds
        ]

    beside = [
        {"prompt": caption, "group": entry.group or Path(entry.file).stem, "kind": entry.domain}
        for caption, entry in neighbours
        if entry.kind != "never_seen"
    ]
    asked = {entry.file: caption for caption, entry in neighbours if entry.kind == "never_seen"}
    tables = {
        "memorized": (COLUMNS, rows("verbatim", "template")),
        "ladder": (COLUMNS, rows("ladder")),
        "never_seen": (COLUMNS, rows("never_seen")),
        "neighbours": (("prompt", "group", "kind"), beside),
        "ordinary": (("prompt",), [{"prompt": caption} for caption in ordinary_captions(world, seed)]),
        "judged": (("prompt",), [{"prompt": caption} for caption in judged_captions(world, seed)]),
    }
    for noun in (noun for noun in CONCEPTS if noun in world.nouns):
        captions = concept_captions(world, seed, noun)
        tables[f"concept-{noun}"] = (("prompt",), [{"prompt": caption} for caption in captions])
    for name, (columns, table) in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
