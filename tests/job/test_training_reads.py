"""What an edit that is trained depends on, beside what any edit does: nothing that judges."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.job.method import check_method
from excise.job.sequence import STAGES, TRAINING
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Recipe
from tests.conftest import changed
from tests.diffusion.pipelines import save
from tests.job.test_reads import another, directly, replaced
from tests.job.tracing import leaves
from tests.jobs import context_of


def test_what_a_training_reads_changes_its_fingerprint_and_no_more(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Settings of loading and drawing, images of located prompts; nothing that judges."""
    recipe = changed(tiny_recipe, "edit", method="unlearn")
    sets = prompt_sets(recipe)
    before = directly(recipe, sets)["edit"]
    for key, value in leaves(recipe).items():
        if key.startswith(("prompts.", "release.", "verdict.", "attack.")):
            continue
        after = directly(replaced(recipe, key.split("."), another(key, value, tmp_path, recipe.model.path)), sets)
        read = key.startswith(("edit.unlearn.", "sampling.", *TRAINING.settings)) or key in STAGES[3].settings
        assert (after["edit"] != before) is (read or key in ("edit.method", "edit.then")), key
    for name in (field for field in sets.__dataclass_fields__ if field != "notes"):
        values = {field: getattr(sets, field) for field in sets.__dataclass_fields__} | {name: ()}
        changes = directly(recipe, PromptSets(**values))["edit"] != before
        assert changes is (name in TRAINING.sets and bool(getattr(sets, name))), name


def test_what_cannot_be_trained_is_refused_before_the_work(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(tiny_recipe, "model", path=save("cogview4", tmp_path / "model"))
    context = context_of(changed(recipe, "edit", method="unlearn"), tmp_path / "run")
    with pytest.raises(ExciseError, match=r"edit\.method: 'unlearn' cannot train a CogView4Pipeline"):
        check_method(context)
