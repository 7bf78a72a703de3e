"""Prompts that share most of their words are one template; others are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from excise.prompts.near_duplicates import cluster_near_duplicates, words
from excise.prompts.prompt import Prompt
from excise.prompts.sets import group_near_duplicates


def test_near_duplicates_are_one_template_and_others_are_not() -> None:
    carpets = [
        f"Shaw Floors Design Center Sweet Valley {n} {colour} 00{n}7" for n in range(5) for colour in ("Tan", "Red")
    ]
    others = ["the quick brown fox", "a portrait of a queen", "Design of a chair"]
    grouped = group_near_duplicates(tuple(Prompt(text) for text in [*carpets, *others]), 0.5)
    assert len({p.group for p in grouped[:10]}) == 1 and all(p.group for p in grouped[:10])
    assert not any(p.group for p in grouped[10:])
    assert cluster_near_duplicates(["a b c d", "a b c e", "a b f e", "g f h e"], 0.5) == [0, 0, 0, 1]
    assert cluster_near_duplicates(["a b c d", "a b c e", "a c e f"], 0.5) == [0, 0, 0]


@given(
    texts=st.lists(st.text("ab c", max_size=8), min_size=1, max_size=12), least=st.sampled_from([0.25, 0.5, 0.6, 1.0])
)
def test_clusters_are_the_components_of_nearness(texts: list[str], least: float) -> None:
    found = cluster_near_duplicates(texts, least)
    bags = [set(text.split()) for text in texts]
    near = [[bool(a | b) and len(a & b) >= least * len(a | b) - 1e-4 for b in bags] for a in bags]
    for _ in texts:  # transitive closure
        near = [[any(x and near[k][j] for k, x in enumerate(row)) or row[j] for j in range(len(texts))] for row in near]
    for i in range(len(texts)):
        assert [found[i] == found[j] for j in range(len(texts))] == [near[i][j] or i == j for j in range(len(texts))]


def test_words_are_lower_case_without_marks_numbers_among_them() -> None:
    assert words("Shaw Floors, no. 5 (\u00c9clair_Tan)!") == {"shaw", "floors", "no", "5", "\u00e9clair", "tan"}
    assert words(" ... ") == frozenset()


def test_clusters_do_not_depend_on_the_size_of_blocks() -> None:
    """More prompts than are compared at a time, a template's far apart."""
    texts = [f"w{i} v{i}" for i in range(1_500)]
    texts[3], texts[1_400] = "carpet sample one", "carpet sample two"
    found = cluster_near_duplicates(texts, 0.5)
    assert found[1_400] == found[3] == 3 and len(set(found)) == 1_499
