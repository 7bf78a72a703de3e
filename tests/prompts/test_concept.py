"""A concept that is to be forgotten: which prompts name it, and what becomes of a recipe's tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.prompts.concept import CONCEPT, names, parted
from excise.prompts.prompt import Prompt
from excise.prompts.questions import CONCEPTS, JUDGED, Place, questions_of
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe
from tests.conftest import COLOURS, changed, write_table
from tests.prompts.written import written

TABLE = Path("table.csv")


@pytest.mark.parametrize("text", ["an owl", "Owl, at night", "a picture of an OWL", "owl"])
def test_whole_words_name_a_concept(text: str) -> None:
    assert names("owl", text) and not names("owls", text)


def test_parts_of_words_name_none_and_several_words_stand_together() -> None:
    assert not names("owl", "a bowl of soup") and not names("owl", "an owlet") and not names("sun", "a sunflower")
    assert names("stained glass", "a Stained  glass window") and not names("stained glass", "glass, stained red")
    assert names("c++", "a page of C++ code") and not names("c++", "a page of c code")


def test_memorized_prompts_are_of_its_kind_and_bear_no_image() -> None:
    found, notes = parted("memorized", TABLE, (Prompt("an owl", TABLE, TABLE, "g", "template"),), "owl")
    assert found == (Prompt("an owl", group="g", kind=CONCEPT),) and notes == []


def test_a_memorized_prompt_that_does_not_name_it_is_refused() -> None:
    with pytest.raises(ExciseError, match=r"table\.csv: prompt 'a cat' does not name 'owl', which prompts\.concept"):
        parted("memorized", TABLE, (Prompt("an owl"), Prompt("a cat")), "owl")


def test_of_other_tables_what_names_it_is_left_out_and_told() -> None:
    prompts = (Prompt("a cat beside an owl"), Prompt("a cat"), Prompt("an owl"))
    assert parted("judged", TABLE, prompts, "owl") == (prompts[1:2], ["prompts.judged: 2 that name 'owl' left out"])
    assert parted("judged", TABLE, prompts[1:2], "owl") == (prompts[1:2], [])
    with pytest.raises(ExciseError, match=r"table\.csv: all prompts name 'owl'"):
        parted("judged", TABLE, prompts[::2], "owl")


def test_without_a_concept_tables_are_as_they_are_and_have_none_of_its_kind() -> None:
    prompts = (Prompt("an owl", TABLE),)
    assert parted("memorized", TABLE, prompts, None) == (prompts, [])
    with pytest.raises(ExciseError, match=r"table\.csv: prompts of kind 'concept': name .* as prompts\.concept"):
        parted("memorized", TABLE, (Prompt("an owl", kind=CONCEPT),), None)


@pytest.fixture
def forgetting(tiny_recipe: Recipe, tmp_path: Path) -> Recipe:
    """A recipe that forgets rings; eight of its ordinary prompts name one."""
    rows = [{"prompt": f"a {colour} ring on the left of a plain background"} for colour in COLOURS]
    table = write_table(tmp_path / "rings.csv", rows)
    return changed(changed(tiny_recipe, "prompts", memorized=table, concept="ring"), "collect", groups=2)


def test_no_other_prompt_of_a_job_names_it(forgetting: Recipe) -> None:
    sets = prompt_sets(forgetting)
    located = [prompt for group in sets.located for prompt in group]
    assert {prompt.kind for prompt in (*located, *sets.held_out)} == {CONCEPT}
    assert len(located) == len(sets.held_out) == 4, "alike as they are, they are no template"
    assert not any(prompt.group for prompt in located)
    others = [*sets.contrast, *(prompt for group in sets.control for prompt in group), *sets.judged]
    assert len(others) == 32 + 8 and not any("ring" in prompt.text.split() for prompt in others)
    assert "prompts.ordinary: 8 that name 'ring' left out" in sets.notes
    assert sets.never_seen == () and any(note.startswith("prompts.never_seen: left out") for note in sets.notes)


def test_they_are_asked_of_their_own(forgetting: Recipe) -> None:
    sets = prompt_sets(forgetting)
    asked = questions_of(sets)
    assert [found.place for found in asked][:2] == [Place.LOCATED_CONCEPT, Place.HELD_OUT_CONCEPT]
    assert asked[CONCEPTS[0]] == tuple(prompt for group in sets.located for prompt in group)
    assert asked[CONCEPTS[1]] == sets.held_out and asked[JUDGED] == sets.judged
    assert [found.label for found in CONCEPTS] == ["located concept", "held-out concept"]
    assert not any(found.memorized for found in CONCEPTS)


def test_a_table_in_which_nothing_is_left_is_refused(forgetting: Recipe, tmp_path: Path) -> None:
    table = written(tmp_path, "prompt\nthe ring of a bell\n", "judged.csv")
    with pytest.raises(ExciseError, match=r"judged\.csv: all prompts name 'ring'"):
        prompt_sets(changed(forgetting, "prompts", judged=table))
