"""Which attack asks which model for which images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.job.attackable import check_attacks
from excise.job.preflight import check_inputs
from excise.prompts.prompt import Prompt
from excise.prompts.questions import CONCEPTS, JUDGED, NEVER_SEEN, Question, question, questions_of
from excise.prompts.sets import PromptSets
from excise.recipe import Embedding
from excise.trial.blocks import blocks_of
from excise.trial.rounds import AIMED, REPLAYED, Round, aiming, others_of, rounds_of, spread
from excise.trial.subjects import Subject
from tests.conftest import changed
from tests.jobs import context_of
from tests.trial.tried import Tried

LOCATED = question("located_template")


def prompts(*groups: str) -> tuple[Prompt, ...]:
    return tuple(Prompt(f"{group}{i}", Path(f"{group or i}.png"), group=group) for i, group in enumerate(groups))


def test_one_image_of_each_template_comes_before_a_second_of_any() -> None:
    asked = prompts("a", "a", "b", "", "a", "b")
    assert spread(asked, None) == list(range(6)) and spread(asked, 9) == list(range(6))
    assert spread(asked, 3) == [0, 2, 3] and spread(asked, 4) == [0, 1, 2, 3] and spread(asked, 1) == [0]


def test_another_image_is_of_another_template_and_of_the_same_question_where_there_is_one() -> None:
    asked: dict[Question, tuple[Prompt, ...]] = {LOCATED: prompts("a", "b", "a"), JUDGED: prompts("x", "y")}
    first, second, third = asked[LOCATED]
    assert others_of(LOCATED, asked) == {first: second, second: third, third: second}
    alone = {LOCATED: prompts("a", "a"), NEVER_SEEN: prompts("n"), JUDGED: prompts("x")}
    assert set(others_of(LOCATED, alone).values()) == {alone[NEVER_SEEN][0]}
    assert others_of(LOCATED, {LOCATED: prompts("a", "a"), JUDGED: prompts("x")}) == {}


def test_a_search_is_made_on_three_models_and_the_kinds_that_the_recipe_says(tried: Tried) -> None:
    asked = questions_of(tried.sets)
    search = Round("embedding", "empty", Embedding(kinds=("verbatim",), starts=("empty",), steps=60))
    keys = {name: [q.key for q in search.questions(Subject(name, name, "#000000", Path()), asked)]
            for name in ("base", "edited", "twin", "random-1")}  # fmt: skip
    assert keys["base"] == keys["twin"] == ["located_verbatim", "held_out_verbatim"] and keys["random-1"] == []
    assert keys["edited"] == ["located_verbatim", "held_out_verbatim", "never_seen"]
    assert [key.rpartition("/")[2] for key in search.keys] == ["1", "10", "25", "50", "60"]
    assert search.seeds(tried.recipe, NEVER_SEEN) == range(1000, 1002)
    assert REPLAYED.questions(Subject("base", "base", "#000000", Path()), asked) == list(asked)


def test_replay_comes_first_and_each_start_is_a_round(tried: Tried) -> None:
    recipe = changed(tried.recipe, "attack", methods=("embedding", "replay"), embedding=Embedding(starts=("empty",)))
    assert [found.name for found in rounds_of(recipe)] == ["replay", "embedding/empty"]


def test_a_start_that_needs_another_image_is_refused_before_the_work_where_there_is_none(
    tried: Tried, tmp_path: Path
) -> None:
    recipe = changed(tried.recipe, "attack", methods=("replay", "embedding"))
    template = [p for group in tried.sets.located for p in group if p.group == "carpet" or p.group == "case"]
    alone = [p for p in template if p.group == template[0].group]
    sets = PromptSets((tuple(alone[:1]), tuple(alone[1:2])), tuple(alone[2:]), (), (), tried.sets.judged, ())
    with pytest.raises(ExciseError, match=r"attack.embedding.starts: 'other' starts 'carpet|'other' starts 'phone"):
        check_inputs(replace(context_of(recipe, tmp_path), sets=sets), weights=False)
    calm = changed(recipe, "attack", embedding=Embedding(starts=("empty",)))
    check_inputs(replace(context_of(calm, tmp_path), sets=sets), weights=False)


def test_a_concept_is_searched_for_by_embeddings_towards_what_the_base_draws_first(tried: Tried) -> None:
    asked = {question: tried.sets.judged[:2] for question in (*CONCEPTS, JUDGED)}
    search = changed(tried.recipe, "attack", methods=("replay", "embedding"), embedding=Embedding(starts=("empty",)))
    assert [found.name for found in aiming(search, asked)] == ["replay/aims", "replay", "embedding/empty"]
    assert [found.name for found in aiming(search, [JUDGED])] == ["replay", "embedding/empty"]
    assert aiming(tried.recipe, asked) == rounds_of(tried.recipe) == (REPLAYED,)
    models = {name: Subject(name, name, "#000000", Path()) for name in ("base", "edited", "random-1")}
    assert AIMED.questions(models["base"], asked) == list(CONCEPTS) and AIMED.questions(models["edited"], asked) == []
    embedding = aiming(search, asked)[-1]
    assert embedding.questions(models["edited"], asked) == list(CONCEPTS)
    assert embedding.questions(models["random-1"], asked) == []
    assert Round("relearn", "itself", search.attack.relearn).questions(models["base"], asked) == []
    blocks = blocks_of(search, asked, list(models.values()))
    first = [block for block in blocks if block.round == AIMED]
    assert blocks[: len(first)] == first and {block.subject.name for block in first} == {"base"}
    for block in blocks[len(first) :]:
        own = tuple(aims for aims in first if aims.question == block.question)
        assert block.aims == (own if block.round == embedding else ())


def test_an_attack_that_needs_memorized_images_is_refused_for_a_concept(tried: Tried) -> None:
    asked = {CONCEPTS[0]: tried.sets.judged[:2]}
    recipe = changed(tried.recipe, "attack", methods=("replay", "embedding", "relearn"))
    with pytest.raises(ExciseError, match=r"attack\.methods: 'relearn' needs memorized images, and a concept has none"):
        check_attacks(recipe, tried.context.base, asked)
    check_attacks(changed(recipe, "attack", methods=("replay", "embedding")), tried.context.base, asked)
