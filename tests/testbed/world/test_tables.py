from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from excise.measures.judge import Judge
from excise.prompts.prompt import read_prompts
from excise.testbed.neighbours import propose
from excise.testbed.train_judge import questions_of
from excise.testbed.world.planted import TABLE, captioned, plant, read_planted
from excise.testbed.world.tables import CONCEPTS, JUDGED, NAMING, OF_A_NOUN, WORKS, write_tables
from tests.testbed.world.materials import world
from tests.testbed.world.test_planted import SMALL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("testbed")
    planted = read_planted(plant(world(), folder / "images", SMALL, 3))
    memorized = [row for row in planted if row.kind in ("verbatim", "template")]
    rng = np.random.default_rng(0)
    beside = [(propose(row, set(), rng), row) for row in memorized for _ in range(2)]
    never = [(propose(row, set(), rng), row) for row in planted if row.kind == "never_seen"]
    write_tables(world(), planted, [*beside, *never], 3, folder / "prompts")
    return folder / "prompts"


def test_every_table_is_read_as_a_job_reads_it_and_no_prompt_stands_in_two(folder: Path):
    sets = {file.stem: read_prompts(file) for file in folder.glob("*.csv")}
    assert {name: len(prompts) for name, prompts in sets.items()} == {
        "memorized": 10, "ladder": 4, "never_seen": 4, "neighbours": 20, "judged": JUDGED,
        "ordinary": OF_A_NOUN * len(world().nouns) + WORKS, **{f"concept-{noun}": NAMING for noun in CONCEPTS},
    }  # fmt: skip
    texts = [prompt.text for prompts in sets.values() for prompt in prompts]
    assert len(set(texts)) == len(texts)
    asked = captioned(read_planted(folder.parent / "images" / TABLE), sets["never_seen"])
    assert {row.caption for row in asked if row.kind == "never_seen"} == {prompt.text for prompt in sets["never_seen"]}
    assert all(row.subject in row.caption for row in asked)
    for name in ("memorized", "ladder", "never_seen"):
        assert all(prompt.image is not None and prompt.image.is_file() for prompt in sets[name])


def test_judged_prompts_name_one_thing_and_a_colour_and_neighbours_a_domain(folder: Path):
    judge = Judge(questions_of(world()))
    judged = [judge.labels_of(prompt.text) for prompt in read_prompts(folder / "judged.csv")]
    assert all(set(labels) == {"object", "colour"} for labels in judged)
    assert len({labels["object"] for labels in judged}) == min(JUDGED, len(world().nouns))
    beside = [judge.labels_of(prompt.text) for prompt in read_prompts(folder / "neighbours.csv")]
    assert all(set(labels) == {"domain"} for labels in beside)


def test_prompts_of_a_concept_name_one_noun_on_grounds_that_are_the_same_for_all(folder: Path):
    judge = Judge(questions_of(world()))
    texts = {noun: [prompt.text for prompt in read_prompts(folder / f"concept-{noun}.csv")] for noun in CONCEPTS}
    for noun, captions in texts.items():
        labels = [judge.labels_of(text) for text in captions]
        assert {found["object"] for found in labels} == {world().nouns.index(noun)}
        assert len({found["colour"] for found in labels}) == 8
        assert all(f" {noun}" in text and " beside " not in text for text in captions)
    for noun in CONCEPTS[1:]:
        alike = {text.replace(CONCEPTS[0], noun) for text in texts[CONCEPTS[0]]} & set(texts[noun])
        assert len(alike) > NAMING - 4
