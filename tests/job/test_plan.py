"""excise plan: what it says is what the job then does, and what cannot fit is refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from excise.checkpoint import Checkpoint
from excise.cli import main
from excise.job.demand import demand_of
from excise.job.estimate import MIB, estimate
from excise.job.forecast import forecast_of, work_of
from excise.job.plan import plan_job, show_plan
from excise.job.runner import run_job
from excise.recipe import Recipe, UnlearnEdit
from excise.run.job_record import JobRecord
from tests.conftest import changed
from tests.jobs import context_of, write_recipe

MOMENTS = ("second_moment",)


def plan(recipe: Path, out: Path) -> Result:
    return CliRunner().invoke(main, ["plan", str(recipe), "--out", str(out)], env={"COLUMNS": "200"})


def test_the_estimate_is_what_the_job_takes(tiny_recipe: Recipe, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.toml", tiny_recipe)
    found = estimate(context_of(tiny_recipe, tmp_path / "run"))
    run = run_job(path, tmp_path / "run")
    folder = run.folder
    weights = tiny_recipe.model.path / "unet" / "diffusion_pytorch_model.safetensors"
    assert (found.sites, found.architecture) == (7, "UNet2DConditionModel")
    assert found.edited < weights.stat().st_size < found.checkpoint
    images = sum(file.stat().st_size for file in run.images.rglob("*.safetensors"))
    assert found.images == pytest.approx(images, rel=0.01)
    statistics = run.statistics.stat().st_size
    assert found.statistics == pytest.approx(statistics, rel=0.15)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert size < found.disk < size + 3 * found.checkpoint + 80 * MIB


def test_second_moments_are_counted(tiny_recipe: Recipe, tmp_path: Path) -> None:
    plain = estimate(context_of(tiny_recipe, tmp_path))
    demand = dataclasses.replace(demand_of(tiny_recipe), fitted=MOMENTS)
    whole = estimate(context_of(tiny_recipe, tmp_path, demand=demand))
    products = sum(site.neurons**2 for site in Checkpoint.open(tiny_recipe.model.path).sites())
    scalars = 8 * plain.sites
    assert whole.sums - plain.sums == 4 * products + scalars, "float32 while collecting"
    groups, moments = tiny_recipe.collect.groups + 1, 8 * products + scalars
    assert whole.statistics - plain.statistics == groups * moments, "float64 where kept; of the control nobody asks"
    assert whole.merging - plain.merging == 2 * moments, "of one group: they are merged a site at a time"
    assert whole.disk - plain.disk > 2 * groups * moments and whole.collect_calls == plain.collect_calls


def test_statistics_that_memory_cannot_hold_do_not_fit(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are merged in the host's memory, whatever the device."""
    context = context_of(tiny_recipe, tmp_path, demand=dataclasses.replace(demand_of(tiny_recipe), fitted=MOMENTS))
    needed = estimate(context)
    free = needed.weights + needed.merging
    for available, fits in ((free, True), (free - 1, False)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda available=available: SimpleNamespace(available=available))
        console = Console(record=True, width=200)
        found = plan_job(context)
        show_plan(found, console)
        assert (found.faults == ()) is fits and found.host == available
        assert ("does not fit: collect: the statistics of a chunk" in console.export_text()) is not fits


def test_without_evidence_fewer_prompts_are_denoised(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with_evidence, without = (
        estimate(context_of(changed(tiny_recipe, "locate", evidence=evidence), tmp_path)) for evidence in (True, False)
    )
    located = sum(map(len, context_of(tiny_recipe, tmp_path).sets.located))
    assert with_evidence.collect_calls - without.collect_calls == located * tiny_recipe.collect.calls
    assert without.attack_calls == with_evidence.attack_calls


def test_a_training_is_counted(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(tiny_recipe, "edit", method="unlearn", unlearn=UnlearnEdit(steps=10, kept_rows=3, pictures=5))
    context, plain = context_of(recipe, tmp_path), estimate(context_of(tiny_recipe, tmp_path))
    found, located = estimate(context), sum(map(len, context.sets.located))
    assert (plain.edit_calls, plain.training) == (0, 0)
    assert found.edit_calls == 10 * (4 * 3 + located * (9 + 3 * 2)) // 2 + 5 * recipe.sampling.steps
    numbers = sum(Checkpoint.open(recipe.model.path).editable("all").values())
    assert found.training == 20 * numbers, "the base, and in float32 the weights, gradients and two moments"
    assert found.disk == plain.disk + 24 * numbers
    assert f"{found.edit_calls:,} to edit, {found.attack_calls:,} to attack" in work_of(context, found)
    assert forecast_of(context, found, JobRecord()).calls["edit"] == found.edit_calls


def test_the_plan_is_printed_and_leaves_nothing(tiny_recipe: Recipe, tmp_path: Path) -> None:
    result = plan(write_recipe(tmp_path / "recipe.toml", tiny_recipe), tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert re.search(r"7 \(ffn\)", result.output) and "denoiser calls" in result.output
    assert "read, no NaN or infinity" in result.output
    assert not (tmp_path / "run").exists()
