"""What a run is refused for, a plan is refused for, in the same words, before anything is denoised or written."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from excise.recipe import Recipe
from tests.job.faults import FAULTS, Workshop
from tests.jobs import excise, refused, write_recipe


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_plan_and_run_find_the_same_fault(fault: str, tiny_recipe: Recipe, tmp_path: Path) -> None:
    make, message = FAULTS[fault]
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, make(Workshop(tmp_path, tiny_recipe)))
    out = tmp_path / "run"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Image size")  # PIL's own
        planned, run = excise("plan", recipe, "--out", out), excise("run", recipe, "--out", out)
    assert refused(planned, message) and refused(run, message)
    assert planned.stderr == run.stderr
    assert not out.exists() or not any(out.rglob("*.safetensors"))
