"""What models are asked: names, order, and which prompts belong to which question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.prompts.questions import (
    ASKED,
    CONCEPTS,
    JUDGED,
    NEIGHBOURS,
    NEVER_SEEN,
    SHOWN,
    UNMEASURED,
    UNPICTURED,
    USEFULNESS,
    Kind,
    Place,
    Question,
    question,
    questions_of,
)
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Recipe

NAMES = {
    "located_verbatim": "located verbatim",
    "located_template": "located template",
    "held_out_verbatim": "held-out verbatim",
    "held_out_template": "held-out template",
    "unpictured": "unpictured",
    "located_concept": "located concept",
    "held_out_concept": "held-out concept",
    "never_seen": "never seen",
    "judged": "judged",
    "neighbours": "neighbours",
}
"""Key to label: files and pages carry them, so that they never change."""


@pytest.fixture
def sets(tiny_recipe: Recipe) -> PromptSets:
    return replace(prompt_sets(tiny_recipe), neighbours_judged=(Prompt("a windmill by ada"), Prompt("a mug by nils")))


def test_keys_labels_and_the_order_in_which_questions_are_asked() -> None:
    assert {asked.key: asked.label for asked in ASKED} == NAMES
    assert [asked.key for asked in ASKED] == list(NAMES)
    assert [asked.key for asked in SHOWN] == [
        "held_out_verbatim", "held_out_template", "located_verbatim", "located_template", "never_seen"
    ]  # fmt: skip
    assert set(ASKED) - set(SHOWN) == set(UNMEASURED) == {*USEFULNESS, *CONCEPTS, UNPICTURED}
    assert USEFULNESS == (JUDGED, NEIGHBOURS)


def test_a_question_is_found_by_its_key() -> None:
    assert all(question(asked.key) is asked for asked in ASKED)
    assert question("never_seen") == NEVER_SEEN and question("judged") == JUDGED
    assert question("held_out_template") == Question(Place.HELD_OUT, Kind.TEMPLATE)
    for name in ("held_out", "held-out verbatim", ""):
        with pytest.raises(KeyError):
            question(name)


def test_memorized_are_those_of_memorized_prompts() -> None:
    assert [asked.key for asked in ASKED if asked.memorized] == list(NAMES)[:4]


def test_every_prompt_with_an_image_is_asked_once_in_order(sets: PromptSets) -> None:
    found = questions_of(sets)
    assert list(found) == [asked for asked in ASKED if asked not in (UNPICTURED, *CONCEPTS)]
    located = [prompt for group in sets.located for prompt in group]
    for kind in Kind:
        assert found[Question(Place.LOCATED, kind)] == tuple(prompt for prompt in located if prompt.kind == kind)
        assert found[Question(Place.HELD_OUT, kind)] == tuple(p for p in sets.held_out if p.kind == kind)
    assert (found[NEVER_SEEN], found[JUDGED]) == (sets.never_seen, sets.judged)
    assert found[NEIGHBOURS] == sets.neighbours_judged
    texts = [prompt.text for prompts in found.values() for prompt in prompts]
    assert len(texts) == len(set(texts)) == 14 + 2 + 8 + 2


def test_memorized_prompts_without_an_image_are_asked_of_their_own_and_never_seen_ones_left_out(
    sets: PromptSets,
) -> None:
    assert not any(prompt.image for prompt in sets.judged)
    bare = next(prompt for group in sets.located for prompt in group)
    located = tuple(tuple(replace(p, image=None) if p == bare else p for p in group) for group in sets.located)
    never = (replace(sets.never_seen[0], image=None), *sets.never_seen[1:])
    before, after = questions_of(sets), questions_of(replace(sets, located=located, never_seen=never))
    asked = Question(Place.LOCATED, Kind(bare.kind))
    assert after[asked] == tuple(prompt for prompt in before[asked] if prompt != bare)
    assert after[NEVER_SEEN] == sets.never_seen[1:] and after[JUDGED] == sets.judged
    assert after[UNPICTURED] == (replace(bare, image=None),)
    assert all(after[other] == before[other] for other in before if other not in (asked, NEVER_SEEN))


def test_a_question_without_prompts_is_left_out(sets: PromptSets) -> None:
    bare = tuple(replace(prompt, image=None) for prompt in sets.held_out)
    asked = questions_of(replace(sets, held_out=bare, never_seen=(), neighbours_judged=()))
    assert [found.key for found in asked] == ["located_verbatim", "located_template", "unpictured", "judged"]


@pytest.mark.parametrize("image", [None, Path("x.png")])
def test_an_unknown_kind_is_refused(sets: PromptSets, image: Path | None) -> None:
    """Whether or not there is an image to compare with: it may be a misspelling."""
    odd = Prompt("a comet", image, kind="verbatm")
    for place in (replace(sets, held_out=(*sets.held_out, odd)), replace(sets, located=((odd,), *sets.located))):
        with pytest.raises(ExciseError, match=r"memorized: 'a comet' is of kind 'verbatm'; known are verbatim, templ"):
            questions_of(place)
    assert questions_of(replace(sets, judged=(odd,)))[JUDGED] == (odd,)  # of ordinary prompts it says nothing


def test_a_held_out_prompt_that_located_is_refused(sets: PromptSets) -> None:
    """By its text alone: another image or group makes it no other prompt to the model."""
    leaked = Prompt(sets.located[1][0].text)
    with pytest.raises(ValueError, match="a held-out prompt was used to locate"):
        questions_of(replace(sets, held_out=(*sets.held_out, leaked)))
