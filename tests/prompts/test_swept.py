"""What a sweep may read has nothing of what a verdict rests on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.prompts.sets import PromptSets, prompt_sets
from excise.prompts.swept import swept_sets
from excise.recipe import Recipe
from tests.conftest import changed
from tests.job.test_reads import neighbours_table


def texts(sets: PromptSets, *names: str) -> set[str]:
    return {prompt.text for name in names for prompt in getattr(sets, name)}


def test_nothing_held_out_judged_or_never_seen_is_in_it(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(tiny_recipe, "prompts", neighbours=neighbours_table(tmp_path))
    whole = prompt_sets(recipe)
    found = swept_sets(whole, 6)
    forbidden = texts(whole, "held_out", "judged", "never_seen", "neighbours_judged")
    assert forbidden and found.located == whole.located
    assert not (found.held_out or found.never_seen or found.control)
    assert not forbidden & texts(found, "judged", "contrast", "neighbours", "neighbours_judged")


def test_usefulness_is_measured_on_prompts_that_no_edit_is_fitted_on(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Control groups first, which are neighbours where there are any; then the end of the contrast."""
    alone = prompt_sets(tiny_recipe)
    control = {prompt.text for group in alone.control for prompt in group}
    few, many = swept_sets(alone, 3), swept_sets(alone, len(control) + 2)
    assert texts(few, "judged") < control and few.contrast == alone.contrast
    assert texts(many, "judged") == control | {prompt.text for prompt in alone.contrast[-2:]}
    assert many.contrast == alone.contrast[:-2]
    beside = prompt_sets(changed(tiny_recipe, "prompts", neighbours=neighbours_table(tmp_path)))
    found = swept_sets(beside, 3)
    assert texts(found, "neighbours_judged") < {prompt.text for group in beside.control for prompt in group}
    assert found.judged == beside.contrast[-3:] and found.contrast == beside.contrast[:-3]
    for sets in (few, many, found):
        assert not texts(sets, "judged", "neighbours_judged") & texts(sets, "contrast", "neighbours")


def test_at_least_half_of_the_contrast_stays(tiny_recipe: Recipe) -> None:
    sets = replace(prompt_sets(tiny_recipe), control=())
    found = swept_sets(sets, 1000)
    assert len(found.judged) == len(sets.contrast) // 2 and found.contrast + found.judged == sets.contrast
    with pytest.raises(ExciseError, match=r"prompts\.ordinary: 1 are left to contrast with, and none"):
        swept_sets(replace(sets, contrast=sets.contrast[:1]), 4)
