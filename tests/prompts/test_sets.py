"""Every prompt of a job: sets without overlap, a control as large as what was located, and what was left out told."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.job.demand import demand_of
from excise.prompts.prompt import prompts_of, read_prompts
from excise.prompts.questions import NEIGHBOURS, questions_of
from excise.prompts.sets import describe, prompt_sets
from excise.prompts.tables import read_table
from excise.recipe import Recipe
from excise.stages.collect import plan_chunks
from tests.conftest import changed
from tests.prompts.written import written


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "prompt,kind,colour\na,MV,\n,TV,\nb,N,\na,RV,\n")
    assert [row.text for row in read_table(path, memorized=False).rows] == ["a", "b", "a"]
    table = read_table(path)
    prompts = prompts_of(tmp_path / "table.csv", table)
    assert [p.text for p in prompts] == ["a", "a"]
    assert describe("memorized", table, prompts) == (
        "prompts.memorized: 2 prompts from column 'prompt'; 1 empty lines left out; 1 labelled as not memorized left "
        "out; 1 duplicates; columns not used: colour"
    )


def test_sets_of_a_recipe_share_no_prompt_and_control_groups_are_as_large(tiny_recipe: Recipe) -> None:
    sets = prompt_sets(tiny_recipe)
    located = [prompt for hand in sets.located for prompt in hand]
    control = [prompt for hand in sets.control for prompt in hand]
    everything = [*located, *sets.held_out, *control, *sets.contrast, *sets.judged, *sets.never_seen]
    assert len({prompt.text for prompt in everything}) == len(everything) == 14 + 40 + 8 + 2
    assert [len(hand) for hand in sets.control] == [len(hand) for hand in sets.located]
    assert len(sets.located) == tiny_recipe.collect.groups
    assert not {p.group for p in located if p.group} & {p.group for p in sets.held_out if p.group}
    assert prompt_sets(tiny_recipe) == sets


def test_the_split_follows_its_seed(tiny_recipe: Recipe) -> None:
    other = changed(tiny_recipe, "prompts", seed=1)
    assert prompt_sets(tiny_recipe).held_out != prompt_sets(other).held_out


@pytest.mark.parametrize("key", ["ordinary", "judged", "never_seen", "neighbours"])
def test_one_prompt_in_two_tables_is_refused(tiny_recipe: Recipe, tmp_path: Path, key: str) -> None:
    table = written(tmp_path, "prompt\na tabby cat looks at the camera\n", f"{key}.csv")
    with pytest.raises(ExciseError, match=rf"{key}\.csv: prompt 'a tabby cat .*is also in .*memorized\.csv"):
        prompt_sets(changed(tiny_recipe, "prompts", **{key: table}))


def few(recipe: Recipe, folder: Path, count: int) -> Recipe:
    """The recipe with the first ``count`` of its ordinary prompts."""
    texts = [prompt.text for prompt in read_prompts(recipe.prompts.ordinary)[:count]]
    return changed(recipe, "prompts", ordinary=written(folder, "\n".join(["prompt", *texts]), "ordinary.csv"))


def least(recipe: Recipe) -> int:
    """Ordinary prompts that the evidence takes: a control group for each located one, and a contrast as large."""
    sizes = [len(group) for group in prompt_sets(recipe).located]
    return sum(sizes) + max(sizes)


def test_too_few_ordinary_prompts_are_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    need = least(tiny_recipe)
    enough = rf"ordinary\.csv: {need - 1} ordinary prompts; .*give at least {need}, or set locate\.evidence = false"
    with pytest.raises(ExciseError, match=enough):
        prompt_sets(few(tiny_recipe, tmp_path, need - 1))
    sets = prompt_sets(few(tiny_recipe, tmp_path, need))
    assert len(sets.contrast) == max(len(group) for group in sets.located) == max(map(len, sets.control))


def test_without_evidence_few_ordinary_prompts_are_enough_and_all_contrast(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(tiny_recipe, "locate", evidence=False, contrast="ordinary")
    whole = prompt_sets(tiny_recipe)
    for count in (1, least(tiny_recipe) - 1):
        sets = prompt_sets(few(recipe, tmp_path, count))
        assert sets.control == () and len(sets.contrast) == count
        assert {prompt.text for prompt in sets.contrast} == {p.text for p in read_prompts(tmp_path / "ordinary.csv")}
        assert (sets.located, sets.held_out, sets.judged, sets.never_seen) == (
            whole.located, whole.held_out, whole.judged, whole.never_seen
        )  # fmt: skip
        chunks = plan_chunks(recipe, sets, demand_of(recipe))
        assert [chunk.set for chunk in chunks if chunk.set != "memorized"] == ["contrast"] * -(-count // 2)
        asked = questions_of(sets)
        assert asked == questions_of(whole)


def test_without_evidence_enough_ordinary_prompts_are_dealt_as_with_it(tiny_recipe: Recipe) -> None:
    """So that the contrast, and with it the edit, is the same."""
    assert prompt_sets(changed(tiny_recipe, "locate", evidence=False)) == prompt_sets(tiny_recipe)


def test_an_ordinary_prompt_that_is_in_the_table_twice_stands_in_one_set(tiny_recipe: Recipe, tmp_path: Path) -> None:
    texts = [prompt.text for prompt in read_prompts(tiny_recipe.prompts.ordinary)]
    table = written(tmp_path, "\n".join(["prompt", *texts, *texts]), "ordinary.csv")
    sets = prompt_sets(changed(tiny_recipe, "prompts", ordinary=table))
    dealt = [prompt.text for group in (*sets.control, sets.contrast) for prompt in group]
    assert sorted(dealt) == sorted(texts)
    assert any("prompts.ordinary: 80 prompts" in note and "40 duplicates" in note for note in sets.notes)


def beside(recipe: Recipe, folder: Path, count: int = 28, **locate: object) -> Recipe:
    """The recipe with neighbours, four in a group."""
    rows = [f"a windmill by {maker} {i},mill{i // 4}" for i, maker in enumerate(["ada", "nils"] * (count // 2))]
    table = written(folder, "\n".join(["prompt,group", *rows]), "neighbours.csv")
    return changed(changed(recipe, "prompts", neighbours=table), "locate", **locate)


def test_neighbours_are_control_and_contrast_in_one_half_and_judged_in_the_other(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    plain = prompt_sets(tiny_recipe)
    sets = prompt_sets(beside(tiny_recipe, tmp_path, contrast="neighbours"))
    control = [prompt for group in sets.control for prompt in group]
    dealt = [*control, *sets.neighbours, *sets.neighbours_judged]
    assert len({prompt.text for prompt in dealt}) == len(dealt) == 28 and sets.neighbours
    assert all(prompt.text.startswith("a windmill") for prompt in dealt)
    assert len(sets.neighbours_judged) == 12  # whole groups of four
    assert not {p.group for p in sets.neighbours_judged} & {p.group for p in (*control, *sets.neighbours)}
    assert [len(group) for group in sets.control] == [len(group) for group in sets.located]
    assert (sets.located, sets.held_out, sets.judged) == (plain.located, plain.held_out, plain.judged)
    assert {p.text for p in sets.contrast} == {p.text for g in (*plain.control, plain.contrast) for p in g}
    assert questions_of(sets)[NEIGHBOURS] == sets.neighbours_judged


def test_the_contrast_that_is_collected_is_the_one_asked_for(tiny_recipe: Recipe, tmp_path: Path) -> None:
    for contrast, name in (("ordinary", "contrast"), ("neighbours", "neighbours"), ("empty", "empty")):
        recipe = beside(tiny_recipe, tmp_path, contrast=contrast)
        sets = prompt_sets(recipe)
        chunks = plan_chunks(recipe, sets, demand_of(recipe))
        assert {chunk.set for chunk in chunks} == {"memorized", "control", name}
        texts = {text for chunk in chunks if chunk.set == "neighbours" for text in chunk.texts}
        assert texts == ({prompt.text for prompt in sets.neighbours} if name == "neighbours" else set())


def test_a_contrast_of_neighbours_without_any_is_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match=r'locate\.contrast = "neighbours": there are none'):
        prompt_sets(changed(tiny_recipe, "locate", contrast="neighbours"))
    with pytest.raises(ExciseError, match=r"neighbours\.csv: 4 neighbours in the half that locating sees"):
        prompt_sets(beside(tiny_recipe, tmp_path, count=8))


def test_near_duplicates_are_told_and_stay_on_one_side(tiny_recipe: Recipe, tmp_path: Path) -> None:
    texts = [f"carpet sample number {word}" for word in ("one", "two", "three", "four")]
    texts += ["a cat asleep", "the tall ship", "an old clock", "seven green birds", "rain over hills", "my red car"]
    recipe = changed(tiny_recipe, "prompts", memorized=written(tmp_path, "\n".join(["prompt", *texts])))
    sets = prompt_sets(recipe)
    located = {prompt.text for group in sets.located for prompt in group}
    assert len({text in located for text in texts[:4]}) == 1
    assert any("4 near-duplicates were found, in 1 templates" in note for note in sets.notes)
    apart = prompt_sets(changed(recipe, "prompts", near_duplicates=None))
    assert not any(prompt.group for group in (*apart.located, apart.held_out) for prompt in group)
    assert not any("near-duplicates" in note for note in apart.notes)


def test_fewer_prompts_than_groups_are_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    table = written(tmp_path, "prompt\nthe one\nthe other\n", "memorized.csv")
    with pytest.raises(ExciseError, match=r"collect\.groups: 3 disjoint sets asked for, but only 1 independent"):
        prompt_sets(changed(tiny_recipe, "prompts", memorized=table))
