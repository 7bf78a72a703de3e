"""A single file in the original layout becomes a diffusers folder that makes the same images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.checkpoint.single_file import usual_configuration
from excise.checkpoint.tensorfile import read_header
from excise.diffusion.denoise import generate
from excise.job.runner import run_job
from excise.recipe import Recipe, Sampling
from tests.checkpoint.original import save_original
from tests.conftest import build_tiny_pipeline
from tests.jobs import excise, refused, write_recipe


@pytest.fixture(scope="module")
def configuration(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint without its weights."""
    folder = tmp_path_factory.mktemp("configuration") / "tiny"
    shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_it_is_converted_and_edited(
    dtype: torch.dtype, tiny_recipe: Recipe, tiny_checkpoint: Path, configuration: Path, tmp_path: Path
) -> None:
    file = save_original(build_tiny_pipeline(seed=0), tmp_path / "tiny.safetensors", dtype)
    changes = {"model.path": str(file), "model.configuration": str(configuration)}
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
    result = excise("run", recipe, "--until", "edit", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "tiny.safetensors" in result.output and "converted by diffusers" in result.output
    job = json.loads((tmp_path / "run" / "job.json").read_text())
    assert "sha256" in job["sources"]["model.path"] and str(configuration) in job["sources"]["model.path"]
    base = tmp_path / "run" / "base"
    header = read_header(base / "unet" / "diffusion_pytorch_model.safetensors")
    assert {entry.dtype for entry in header.values()} == {"F32" if dtype == torch.float32 else "F16"}
    sampling = Sampling(steps=3, batch=2)
    images = [
        generate(Checkpoint.open(folder).load(torch.float32, torch.device("cpu")), ["a red circle"], [0], sampling)
        for folder in (tiny_checkpoint, base)
    ]
    torch.testing.assert_close(*images, rtol=0, atol=0 if dtype == torch.float32 else 0.02)
    assert excise("diff", base, tmp_path / "run" / "edited").exit_code == 0
    before = (base / "model_index.json").stat().st_mtime_ns
    run_job(recipe, tmp_path / "run", "edit")
    assert (base / "model_index.json").stat().st_mtime_ns == before  # not converted again


def test_what_was_converted_and_then_altered_is_converted_again(
    tiny_recipe: Recipe, configuration: Path, tmp_path: Path
) -> None:
    file = save_original(build_tiny_pipeline(seed=0), tmp_path / "tiny.safetensors")
    changes = {"model.path": str(file), "model.configuration": str(configuration)}
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
    run = run_job(recipe, tmp_path / "run", "collect")
    index = run.brought("path") / "model_index.json"
    whole = index.read_text()
    index.write_text(whole + " ")
    run_job(recipe, tmp_path / "run", "collect")
    assert index.read_text() == whole


def test_what_cannot_be_converted_is_refused(tiny_recipe: Recipe, configuration: Path, tmp_path: Path) -> None:
    changes = {"model.path": str(tmp_path / "none.safetensors"), "model.configuration": str(configuration)}
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
    assert refused(excise("run", recipe, "--out", tmp_path / "run"), "model.path", "none.safetensors", "no such file")
    (tmp_path / "none.safetensors").write_bytes(b"not safetensors")
    assert refused(excise("run", recipe, "--out", tmp_path / "run"), "none.safetensors", "not a safetensors file")
    pipeline = build_tiny_pipeline(seed=0)
    save_original(pipeline, tmp_path / "none.safetensors")
    config = configuration / "unet" / "config.json"
    other = tmp_path / "other"
    shutil.copytree(configuration, other)
    (other / "unet" / "config.json").write_text(
        config.read_text().replace('"cross_attention_dim": 16', '"cross_attention_dim": 24')
    )
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes | {"model.configuration": str(other)})
    assert refused(excise("run", recipe, "--out", tmp_path / "run"), "diffusers cannot convert this file")
    assert not (tmp_path / "run" / "base").exists()


def test_its_usual_configuration_is_what_diffusers_takes_it_for(tmp_path: Path) -> None:
    file = save_original(build_tiny_pipeline(seed=0), tmp_path / "tiny.safetensors")
    assert usual_configuration(file) == "stable-diffusion-v1-5/stable-diffusion-v1-5"
