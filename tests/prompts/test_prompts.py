"""Prompt tables and splits: faults are named, templates are never cut, nothing stands on two sides."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from excise.errors import ExciseError
from excise.prompts.near_duplicates import near_clusters
from excise.prompts.sets import (
    Prompt,
    bundles,
    deal,
    describe,
    group_near,
    prompt_sets,
    prompts_of,
    read_prompts,
    split_by_group,
)
from excise.prompts.tables import read_table
from excise.recipe import Recipe

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
        ("", "none of the columns .none. is called prompt, caption, text"),
        ("title\na cat\n", "none of the columns title is called prompt"),
        ("prompt\n", "the table has no prompt"),
        ("prompt,group\n  ,a\n", "the table has no prompt"),
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
    with pytest.raises(ExciseError, match="line 2: not UTF-8; save it as UTF-8"):
        read_prompts(path)


def test_the_published_lists_load_as_they_are(tmp_path: Path) -> None:
    """The columns of Webster 2023 (parquet), Wen 2024 (jsonl), MemBench (csv, lists), and a csv with semicolons."""
    listed = {
        "caption": ["Shaw Floors, Tan", "Shaw Floors, Red", "the bloodborne box art", "a common chair"],
        "url": ["https://a/1", "https://a/2", "https://a/3", "https://a/4"],
        "overfit_type": ["TV", "TV", "MV", "N"],
        "template_indices": [[3], [3, 7], [], []],
        "mse_real_gen": [0.1, 0.2, 0.3, None],
    }
    pyarrow.parquet.write_table(pyarrow.table(listed), tmp_path / "sdv1.parquet")
    prompts = read_prompts(tmp_path / "sdv1.parquet")
    assert [p.kind for p in prompts] == ["template", "template", "verbatim"]
    assert [len(bundle) for bundle in bundles(prompts)] == [2, 1]

    lines = (
        '{"caption": "a \u00e9clair", "index": 7, "url": "https://a/1"}\n\n{"caption": "b", "index": 8, "url": null}\n'
    )
    first, second = read_prompts(written(tmp_path, lines, "wen.jsonl"))
    assert (first.text, first.sources, second.sources) == ("a éclair", ("url=https://a/1",), ())

    table = (
        "prompt,urls\n\"one, two\",\"['https://a/1', 'https://a/2']\"\nthree,\"['https://a/2']\"\nfour,['https://b']\n"
    )
    prompts = read_prompts(written(tmp_path, table, "membench.csv"))
    assert [p.text for p in prompts] == ["one, two", "three", "four"]
    assert [len(bundle) for bundle in bundles(prompts)] == [2, 1]

    (only,) = read_prompts(written(tmp_path, "Caption;Group\na cat, asleep;cats\n", "semicolon.csv"))
    assert (only.text, only.group) == ("a cat, asleep", "cats")

    assert read_prompts(written(tmp_path, "a cat\n\na dog\n", "list.txt")) == (Prompt("a cat"), Prompt("a dog"))


def test_a_column_can_be_named_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "title,prompt\na cat,x\n")
    assert read_prompts(path, "title") == (Prompt("a cat"),)
    with pytest.raises(ExciseError, match="no column 'name'; the columns are title, prompt"):
        read_prompts(path, "name")


def test_utf_16_is_read_and_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("prompt\nun café\n".encode("utf-16"))
    assert read_prompts(path) == (Prompt("un café"),)
    path.write_bytes("prompt\na cat\nun café\n".encode("cp1252"))
    with pytest.raises(ExciseError, match="line 3: not UTF-8"):
        read_prompts(path)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "prompt,kind,colour\na,MV,\n,TV,\nb,N,\na,RV,\n")
    assert [row.text for row in read_table(path, memorized=False).rows] == ["a", "b", "a"]
    table = read_table(path)
    prompts = prompts_of(tmp_path / "table.csv", table)
    assert [p.text for p in prompts] == ["a", "a"]
    assert describe("memorized", table, prompts) == (
        "prompts.memorized: 2 prompts from column 'prompt'; 1 empty lines left out; 1 labelled as not memorized left "
        "out; 1 that stand there before; columns not used: colour"
    )


def test_near_duplicates_are_one_template_and_others_are_not() -> None:
    carpets = [
        f"Shaw Floors Design Center Sweet Valley {n} {colour} 00{n}7" for n in range(5) for colour in ("Tan", "Red")
    ]
    others = ["the quick brown fox", "a portrait of a queen", "Design of a chair"]
    grouped = group_near(tuple(Prompt(text) for text in [*carpets, *others]), 0.5)
    assert len({p.group for p in grouped[:10]}) == 1 and all(p.group for p in grouped[:10])
    assert not any(p.group for p in grouped[10:])
    assert near_clusters(["a b c d", "a b c e", "a b f e", "g f h e"], 0.5) == [0, 0, 0, 1]
    assert near_clusters(["a b c d", "a b c e", "a c e f"], 0.5) == [0, 0, 0]


@given(
    texts=st.lists(st.text("ab c", max_size=8), min_size=1, max_size=12), least=st.sampled_from([0.25, 0.5, 0.6, 1.0])
)
def test_clusters_are_the_components_of_nearness(texts: list[str], least: float) -> None:
    found = near_clusters(texts, least)
    bags = [set(text.split()) for text in texts]
    near = [[bool(a | b) and len(a & b) >= least * len(a | b) - 1e-4 for b in bags] for a in bags]
    for _ in texts:  # transitive closure
        near = [[any(x and near[k][j] for k, x in enumerate(row)) or row[j] for j in range(len(texts))] for row in near]
    for i in range(len(texts)):
        assert [found[i] == found[j] for j in range(len(texts))] == [near[i][j] or i == j for j in range(len(texts))]


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
