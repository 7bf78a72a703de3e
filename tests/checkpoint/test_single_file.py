"""A single file in the original layout becomes a diffusers folder that makes the same images."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from excise.checkpoint import Checkpoint
from excise.checkpoint.export_folder import of_folder
from excise.checkpoint.exported import write_contents
from excise.checkpoint.single_file import convert, sketch, usual_configuration
from excise.checkpoint.tensorfile import read_header
from excise.diffusion.denoise import generate
from excise.job.estimate import estimate
from excise.job.runner import run_job
from excise.recipe import Recipe, Sampling, load_recipe
from excise.sources.bring import sketched
from tests.checkpoint.one_file import save
from tests.checkpoint.original import save_original
from tests.conftest import build_tiny_pipeline, changed
from tests.jobs import context_of, excise, refused, write_recipe


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_its_plan_is_that_of_the_folder_that_it_becomes(
    dtype: torch.dtype, tiny_recipe: Recipe, configuration: Path, tmp_path: Path
) -> None:
    file = save_original(build_tiny_pipeline(seed=0), tmp_path / "tiny.safetensors", dtype)
    changes = {"model.path": str(file), "model.configuration": str(configuration)}
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
    done = excise("plan", recipe, "--out", tmp_path / "run")
    assert done.exit_code == 0 and "7 (ffn)" in done.stdout, done.output
    assert not (tmp_path / "run").exists()
    with sketched(load_recipe(recipe)) as local:
        planned = context_of(local, tmp_path / "run")
        planned.base.check_shapes()
        before, weights, names = estimate(planned), sizes(planned.base), planned.base.files()
    convert(file, configuration, tmp_path / "base")
    converted = context_of(changed(tiny_recipe, "model", path=tmp_path / "base"), tmp_path / "run")
    assert (weights, names) == (sizes(converted.base), converted.base.files())
    after = estimate(converted)
    assert abs(before.checkpoint - after.checkpoint) < 1000  # configurations are written anew, with other defaults
    assert replace(before, checkpoint=0, disk=0) == replace(after, checkpoint=0, disk=0)


@pytest.mark.parametrize("family", ["sd2", "xl"])
def test_of_families_with_other_text_encoders_it_is_the_same(family: str, tmp_path: Path) -> None:
    folder = save(family, tmp_path / family)
    path = write_contents(of_folder(Checkpoint.open(folder)), tmp_path / "one.safetensors").path
    sketch(path, folder, tmp_path / "sketch")
    convert(path, folder, tmp_path / "converted")
    found = sizes(Checkpoint.open(tmp_path / "converted"))
    assert found == sizes(Checkpoint.open(tmp_path / "sketch")) and len(found) == (4 if family == "xl" else 3)
    for name in found:
        assert read_header(tmp_path / "converted" / name) == read_header(tmp_path / "sketch" / name)
        before, after = load_file(folder / name), load_file(tmp_path / "converted" / name)
        assert all(torch.equal(value, after[key]) for key, value in before.items())


def sizes(base: Checkpoint) -> dict[str, int]:
    """Bytes of every file of weights."""
    return {name: (base.folder / name).stat().st_size for name in base.files() if name.endswith(".safetensors")}


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_file_that_lacks_something_is_refused_by_its_name(
    command: str, tiny_recipe: Recipe, configuration: Path, tmp_path: Path
) -> None:
    """As a plan sees it from the header, a run says it before it converts."""
    file = save_original(build_tiny_pipeline(seed=0), tmp_path / "tiny.safetensors")
    changes = {"model.path": str(file), "model.configuration": str(configuration)}
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
    whole = load_file(file)
    for lost, words in {
        "first_stage_model.": ("vae", "no AutoencoderKL"),
        "cond_stage_model.": ("text_encoder", "no CLIPTextModel"),
        "model.diffusion_model.out.2.bias": ("unet", "no tensor for conv_out.bias"),
        "model.diffusion_model.time_embed.": ("unet", "no tensor for time_embedding.linear_1.weight"),
    }.items():
        save_file({name: one for name, one in whole.items() if not name.startswith(lost)}, file)
        done = excise(command, recipe, "--out", tmp_path / "run")
        assert refused(done, "tiny.safetensors", "diffusers cannot convert this file", *words)
    cut = "model.diffusion_model.out.2.weight"
    save_file(whole | {cut: whole[cut][:, 1:].contiguous()}, file)
    assert refused(excise(command, recipe, "--out", tmp_path / "run"), "unet: conv_out.weight: shape (4, 15, 3, 3)")
    assert not (tmp_path / "run" / "base").exists()


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
