"""Prompt tables and splits: faults are named, templates are never cut, nothing stands on two sides."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editor.errors import ExciseError
from editor.prompts import Prompt, deal, prompt_sets, read_prompts, split_by_group
from editor.recipe import Recipe

rows = st.tuples(
    st.integers(0, 60),  # few enough that some texts stand twice
    st.sampled_from([None, None, None, Path("x.png"), Path("y.png")]),
    st.sampled_from(["", "", "a", "b", "c"]),
    st.sampled_from(["verbatim", "template"]),
)
prompt_lists = st.lists(rows, min_size=1, max_size=40).map(
    lambda drawn: tuple(Prompt(f"prompt {i}", image, None, group, kind) for i, image, group, kind in drawn)
)


def marks(prompts: tuple[Prompt, ...]) -> set[object]:
    """All that must not stand on two sides."""
    found: set[object] = {p.text for p in prompts} | {p.image for p in prompts if p.image}
    return found | {("group", p.group) for p in prompts if p.group}


def independent(prompts: tuple[Prompt, ...]) -> int:
    """Connected components of the rows, joined where they share a mark; by repeated merging."""
    parts = [({i}, marks((prompt,))) for i, prompt in enumerate(prompts)]
    merged = True
    while merged:
        merged = False
        for a, b in combinations(range(len(parts)), 2):
            if parts[a][1] & parts[b][1]:
                other = parts.pop(b)
                parts[a] = (parts[a][0] | other[0], parts[a][1] | other[1])
                merged = True
                break
    return len(parts)


def written(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_every_column(tmp_path: Path) -> None:
    (tmp_path / "cat.png").touch()
    (tmp_path / "part.png").touch()
    table = 'prompt,image,mask,group,kind\n"a cat, asleep",cat.png,part.png,cats,template\na dog,,,,\n'
    first, second = read_prompts(written(tmp_path, table))
    assert first == Prompt("a cat, asleep", tmp_path / "cat.png", tmp_path / "part.png", "cats", "template")
    assert second == Prompt("a dog")


def test_reads_a_table_with_byte_order_mark(tmp_path: Path) -> None:
    assert read_prompts(written(tmp_path, "\ufeffprompt\na cat\n")) == (Prompt("a cat"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'prompt'"),
        ("caption\na cat\n", "no column 'prompt'"),
        ("prompt,colour\na cat,red\n", "unknown column 'colour'"),
        ("prompt\n", "the table has no prompt"),
        ("prompt,group\n  ,a\n", "line 2: empty prompt"),
        ("prompt\na cat, asleep\n", "line 2: not as many fields"),
        ("prompt,group\na cat\n", "line 2: not as many fields"),
        ("prompt,image\na cat,missing.png\n", r"line 2: image 'missing\.png' is not beside the table"),
    ],
)
def test_fault_names_table_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ExciseError, match=rf"table\.csv: {message}"):
        read_prompts(written(tmp_path, text))


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match=r"gone\.csv: prompt table cannot be read"):
        read_prompts(tmp_path / "gone.csv")


def test_binary_table(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"prompt\n\xff\xfe\n")
    with pytest.raises(ExciseError, match="not a UTF-8 CSV table"):
        read_prompts(path)


@given(prompts=prompt_lists, share=st.floats(0, 1), seed=st.integers(0, 5))
def test_split_keeps_every_prompt_once_and_groups_whole(prompts: tuple[Prompt, ...], share: float, seed: int) -> None:
    first, second = split_by_group(prompts, share, seed)
    assert sorted(p.text for p in first + second) == sorted(p.text for p in prompts)
    assert not marks(first) & marks(second)
    assert split_by_group(prompts, share, seed) == (first, second)


@given(count=st.integers(1, 60), share=st.floats(0, 1), seed=st.integers(0, 5))
def test_split_of_single_prompts_has_the_asked_share(count: int, share: float, seed: int) -> None:
    first, _ = split_by_group(tuple(Prompt(str(i)) for i in range(count)), share, seed)
    assert abs(len(first) - share * count) <= 0.5


@given(prompts=prompt_lists, groups=st.integers(1, 6), seed=st.integers(0, 5))
def test_deal_is_disjoint_complete_and_never_cuts_a_group(prompts: tuple[Prompt, ...], groups: int, seed: int) -> None:
    if independent(prompts) < groups:
        with pytest.raises(ExciseError, match=r"collect\.groups"):
            deal(prompts, groups, seed)
        return
    hands = deal(prompts, groups, seed)
    assert len(hands) == groups and all(hands)
    assert sorted(p.text for hand in hands for p in hand) == sorted(p.text for p in prompts)
    for one, other in combinations(hands, 2):
        assert not marks(one) & marks(other)


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
    other = tiny_recipe.prompts.model_copy(update={"seed": 1})
    assert prompt_sets(tiny_recipe).held_out != prompt_sets(tiny_recipe.model_copy(update={"prompts": other})).held_out


def changed(recipe: Recipe, **update: object) -> Recipe:
    return recipe.model_copy(update={"prompts": recipe.prompts.model_copy(update=update)})


def test_one_prompt_in_two_tables_is_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    table = written(tmp_path, "prompt\na tabby cat looks at the camera\n", "judged.csv")
    with pytest.raises(ExciseError, match=r"judged\.csv: prompt 'a tabby cat .*also stands in .*memorized\.csv"):
        prompt_sets(changed(tiny_recipe, judged=table))


def test_too_few_ordinary_prompts_are_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    table = written(tmp_path, "prompt\na red circle\na blue square\n", "ordinary.csv")
    with pytest.raises(ExciseError, match=r"ordinary\.csv: 2 ordinary prompts; .* give at least"):
        prompt_sets(changed(tiny_recipe, ordinary=table))


def test_fewer_prompts_than_groups_are_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    table = written(tmp_path, "prompt\nthe one\nthe other\n", "memorized.csv")
    with pytest.raises(ExciseError, match=r"collect\.groups: 3 disjoint sets asked for, but only 1 independent"):
        prompt_sets(changed(tiny_recipe, memorized=table))
