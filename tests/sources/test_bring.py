"""Checkpoints, configurations and tables by their addresses on the Hub, over HTTP."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from excise.recipe import Recipe, load_recipe
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.sources.bring import CHECKPOINTS, bring, pinned
from tests.checkpoint.original import save_original
from tests.conftest import build_tiny_pipeline
from tests.hub import command
from tests.hub.server import Hub
from tests.jobs import excise, refused, write_recipe
from tests.processes import LAUNCH
from tests.sources.conftest import folder_files

WEIGHTS = "diffusion_pytorch_model.safetensors"


def test_a_job_whose_inputs_are_all_on_the_hub(
    hub: Hub,
    at_home: Path,
    repo: str,
    tables: None,
    recipe: Path,
    tiny_recipe: Recipe,
    tiny_checkpoint: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    done = excise("plan", recipe, "--out", run)
    assert done.exit_code == 0, done.output
    assert "7 (ffn)" in done.stdout and not (run / "base").exists()
    whole = sum(request.status == 200 for request in hub.requests if request.endpoint == "cdn")
    assert hub.count("cdn") and whole < hub.count("cdn")  # pictures whole; of the weights parts, which answer 206

    ran = command.excise(hub, at_home, "run", recipe, "--until", "edit", "--out", run)
    assert ran.returncode == 0, ran.stderr
    assert f"model.path: hf://models/acme/tiny@{repo}" in ran.stdout
    job = json.loads((run / "job.json").read_text())
    assert job["sources"]["model.path"] == f"hf://models/acme/tiny@{repo}"
    assert job["sources"]["prompts.judged"].endswith(f"@{hub.head('acme/judged', kind='dataset')}/judged.csv")
    base = folder_files(run / "base")
    assert base == folder_files(tiny_checkpoint) | {
        name: data for name, data in hub.files("acme/tiny").items() if name in ("README.md", "LICENSE.md")
    }
    assert not any(path.is_symlink() for path in run.rglob("*"))

    local = write_recipe(tmp_path / "local.toml", tiny_recipe)
    assert excise("run", local, "--until", "edit", "--out", tmp_path / "local").exit_code == 0
    edited = [load_file(folder / "edited" / "unet" / WEIGHTS) for folder in (run, tmp_path / "local")]
    assert all((edited[0][name] == edited[1][name]).all() for name in edited[1])

    before = hub.count("cdn")
    done = excise("run", recipe, "--until", "edit", "--out", run)
    assert done.exit_code == 0 and hub.count("cdn") == before
    assert done.stdout.count("done before") == 4


def test_a_repository_that_moved_on_is_a_new_input(
    hub: Hub, at_home: Path, repo: str, tables: None, recipe: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert excise("run", recipe, "--until", "collect", "--out", run).exit_code == 0
    second = tmp_path / "second"
    build_tiny_pipeline(seed=1).save_pretrained(second)
    moved = hub.add_repo("acme/tiny", folder=second)
    pinned = tmp_path / "pinned.toml"
    pinned.write_text(recipe.read_text().replace("hf://acme/tiny", f"hf://acme/tiny@{moved}"))
    done = excise("run", pinned, "--until", "collect", "--out", run)
    assert done.exit_code == 0 and "changed: model.path" in done.stdout, done.output
    assert (run / "base" / "unet" / WEIGHTS).read_bytes() == (second / "unet" / WEIGHTS).read_bytes()


def test_a_run_that_is_pinned_stays_where_it_was(
    hub: Hub, at_home: Path, repo: str, tables: None, recipe: Path, tmp_path: Path
) -> None:
    """As a sweep is, between collecting and comparing."""
    assert excise("run", recipe, "--until", "collect", "--out", tmp_path / "run").exit_code == 0
    run = Run(tmp_path / "run")
    sources = load_record(run).sources
    hub.add_repo("acme/tiny", {"model_index.json": b"{}"})
    again, origins = bring(pinned(load_recipe(recipe), sources), {key: run.brought(key) for key in CHECKPOINTS})
    assert origins == sources and origins["model.path"].endswith(f"@{repo}")
    assert again.model.path == run.folder / "base"


def test_without_a_connection_the_cache_is_enough(
    hub: Hub, at_home: Path, repo: str, tables: None, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.write_text(recipe.read_text().replace("hf://datasets/acme/judged", "hf://datasets/acme/judged/judged.csv"))
    assert excise("run", recipe, "--until", "collect", "--out", tmp_path / "run").exit_code == 0
    before = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    done = excise("run", recipe, "--until", "collect", "--out", tmp_path / "again")
    assert done.exit_code == 0, done.output
    assert len(hub.requests) == before
    shutil.rmtree(at_home)
    assert refused(excise("run", recipe, "--out", tmp_path / "third"), "the Hub cannot be reached")


def test_a_single_file_with_the_configuration_that_diffusers_takes_it_for(
    hub: Hub, at_home: Path, tiny_recipe: Recipe, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    usual = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    commit = hub.add_repo(usual, folder=tiny_checkpoint)
    file = save_original(build_tiny_pipeline(seed=0), tmp_path / "tiny.safetensors")
    at = hub.add_repo("acme/single", {"tiny.safetensors": file.read_bytes()})
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"model.path": "hf://acme/single/tiny.safetensors"})
    done = excise("plan", recipe, "--out", tmp_path / "run")
    assert done.exit_code == 0 and "7 (ffn)" in done.stdout, done.output
    assert not list(at_home.rglob("*tiny.safetensors"))  # of the file itself only the header
    done = excise("run", recipe, "--until", "edit", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    source = json.loads((tmp_path / "run" / "job.json").read_text())["sources"]["model.path"]
    assert f"hf://models/acme/single@{at}/tiny.safetensors" in source and f"hf://models/{usual}@{commit}" in source
    cached = at_home / "hub" / f"models--{usual.replace('/', '--')}"
    assert not list(cached.rglob("*.safetensors"))  # of the configuration's repository no weights
    done = excise("export", tmp_path / "run", "--single-file", tmp_path / "edited.safetensors")
    assert done.exit_code == 0, done.output
    before, after = load_file(file), load_file(tmp_path / "edited.safetensors")
    assert sum(not torch.equal(value, before[name]) for name, value in after.items()) == 7


@pytest.mark.e2e
def test_two_processes_fetch_once(hub: Hub, repo: str, tables: None, recipe: Path, tmp_path: Path) -> None:
    launch = ["2", "-m", "excise", "run", str(recipe)]
    done = subprocess.run(
        [sys.executable, *LAUNCH, *launch, "--until", "collect", "--out", str(tmp_path / "two")],
        env=command.environment(hub, tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"model.path: hf://models/acme/tiny@{repo}") == 1
    weights = sum(name.endswith(".safetensors") for name in hub.files("acme/tiny") if "/" in name)
    pictures = len(list((tmp_path / "home").rglob("*.png")))
    assert hub.count("cdn") == weights + pictures
