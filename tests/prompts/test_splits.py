"""Splits: nothing stands on two sides, and what belongs together is never cut."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.prompts.splits import deal, split_by_group

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
