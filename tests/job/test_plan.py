"""excise plan: what it says is what the job then does, and what cannot fit is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from excise.cli import main
from excise.job.estimate import MIB, estimate
from excise.job.runner import run_job
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe
from tests.jobs import write_recipe


def plan(recipe: Path, out: Path) -> Result:
    return CliRunner().invoke(main, ["plan", str(recipe), "--out", str(out)], env={"COLUMNS": "200"})


def test_the_estimate_is_what_the_job_takes(tiny_recipe: Recipe, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.toml", tiny_recipe)
    sets = prompt_sets(tiny_recipe)
    found = estimate(tiny_recipe, sets)
    folder = run_job(path, tmp_path / "run")
    weights = tiny_recipe.model.path / "unet" / "diffusion_pytorch_model.safetensors"
    assert (found.sites, found.architecture) == (7, "UNet2DConditionModel")
    assert found.edited < weights.stat().st_size < found.checkpoint
    images = sum(file.stat().st_size for file in (folder / "images").glob("*.safetensors"))
    assert found.images == pytest.approx(images, rel=0.01)
    statistics = (folder / "statistics.safetensors").stat().st_size
    assert found.statistics == pytest.approx(statistics, rel=0.15)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert size < found.disk < size + 3 * found.checkpoint + 80 * MIB


def test_the_plan_is_printed_without_reading_weights(tiny_recipe: Recipe, tmp_path: Path) -> None:
    result = plan(write_recipe(tmp_path / "recipe.toml", tiny_recipe), tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert re.search(r"7 \(ffn\)", result.output) and "denoiser calls" in result.output
    assert not (tmp_path / "run").exists()
