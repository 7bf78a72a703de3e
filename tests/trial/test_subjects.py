from __future__ import annotations

from pathlib import Path

import torch

from excise.checkpoint import Checkpoint
from excise.prompts.questions import ASKED, JUDGED, NEVER_SEEN, UNPICTURED
from excise.run.layout import Run
from excise.run.subspace import read_masks
from excise.trial.subjects import COLOURS, Subject, subjects_of
from tests.conftest import changed
from tests.trial.tried import Tried


def test_models_stand_in_the_order_of_the_verdict(tried: Tried) -> None:
    recipe = changed(tried.recipe, "validate_", random_edits=2)
    recipe = changed(recipe, "model", twin=Path("twin"))
    found = subjects_of(recipe, Run(Path("run")), tried.context.base)
    assert [(subject.name, subject.label, subject.checkpoint) for subject in found] == [
        ("base", "base", recipe.model.path),
        ("edited", "edited", Path("run/edited")),
        ("twin", "twin", Path("twin")),
        ("random-1", "random edit 1", recipe.model.path),
        ("random-2", "random edit 2", recipe.model.path),
    ]
    assert [subject.change is None for subject in found] == [True, True, True, False, False]
    colours = [COLOURS[name] for name in ("base", "edited", "twin", "random", "random")]
    assert [subject.colour for subject in found] == colours and len(set(colours)) == 4


def test_without_twin_and_controls(tried: Tried) -> None:
    recipe = changed(changed(tried.recipe, "model", twin=None), "validate_", random_edits=0)
    assert [found.name for found in subjects_of(recipe, tried.run, tried.context.base)] == ["base", "edited"]


def test_never_seen_prompts_and_those_without_an_image_are_for_base_and_edited_alone(tried: Tried) -> None:
    for subject in subjects_of(tried.recipe, tried.run, tried.context.base):
        asked = (
            list(ASKED)
            if subject.name in ("base", "edited")
            else [a for a in ASKED if a not in (NEVER_SEEN, UNPICTURED)]
        )
        assert subject.asked(ASKED) == asked
        assert subject.asked([JUDGED]) == [JUDGED] and subject.asked([]) == []


def test_controls_are_as_large_per_site_as_what_was_located(tried: Tried) -> None:
    base = Checkpoint.open(tried.recipe.model.path)
    masks = read_masks(tried.run, base.sites())
    recipe = changed(tried.recipe, "validate_", random_edits=2)
    one, two = (subject.change for subject in subjects_of(recipe, tried.run, base) if subject.change)
    drawn = [edit() for edit in (one, two, one)]
    for edit in drawn:
        counts = {site.name: edit.zeroed(site) for site in edit.sites}
        assert counts == {name: int(mask.sum()) for name, mask in masks.items() if mask.any()}
    weights = {site: torch.ones(site.outputs, site.neurons) for site in drawn[0].sites}
    first, second, again = ([edit.apply(site, weight) for site, weight in weights.items()] for edit in drawn)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, second))
    assert not any(torch.equal(found == 0, masks[site.name]) for site, found in zip(weights, first, strict=True))


def test_a_subject_is_what_it_is_called_and_made_of() -> None:
    """Batches are grouped by it, and a function equals only itself."""
    one, other = (Subject("a", "A", "#000000", Path("x"), change=lambda: None) for _ in range(2))
    assert one == other and hash(one) == hash(other)
    assert one != Subject("b", "A", "#000000", Path("x"))
