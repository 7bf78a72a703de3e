"""A folder as it is cloned from the Hub: what its index does not name is told, and neither opened nor copied."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from excise.checkpoint import Checkpoint
from excise.checkpoint.compare import compare_folders
from excise.checkpoint.copying import copy_with_changes
from excise.diffusion.load import denoiser
from excise.recipe import Recipe
from tests.checkpoint.layouts import NAME, PLAIN, contents
from tests.jobs import excise, write_recipe
from tests.release.finished import finished_run

LEFT_OUT = (
    "handler.py",
    "pytorch_lora_weights.safetensors",
    "samples/",
    "text_encoder/pytorch_model.bin",
    "unet/diffusion_pytorch_model.bin",
    "unet/openvino/",
    "unet/pytorch_lora_weights.safetensors",
    "v1-5-pruned.ckpt",
    "v1-5-pruned.safetensors",
    "vae_old/",
)


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.mark), 0o755)


@pytest.fixture
def cloned(base: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint with what people keep beside one; files that nobody may open are readable by nobody."""
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    for name in ("v1-5-pruned.ckpt", "unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin"):
        (base / name).write_bytes(bomb)
    for name in ("pytorch_lora_weights.safetensors", "unet/pytorch_lora_weights.safetensors"):
        save_file({"unet.lora_A.weight": torch.ones(2, 2)}, base / name)
    shutil.copy(base / "unet" / PLAIN, base / "v1-5-pruned.safetensors")
    (base / "handler.py").write_text("raise SystemExit")
    for folder in ("samples", "vae_old", "unet/openvino", ".git"):
        (base / folder).mkdir()
        os.mkfifo(base / folder / "pipe.safetensors")  # whoever opens it waits forever
    (base / "README.md").write_text("A card.")
    return base


def test_it_is_opened_loaded_and_told(cloned: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint, plain = Checkpoint.open(cloned), Checkpoint.open(tiny_checkpoint)
    assert checkpoint.left_out() == LEFT_OUT and plain.left_out() == ()
    assert checkpoint.files() == tuple(sorted((*plain.files(), "README.md")))
    assert checkpoint.numbers() == plain.numbers() and checkpoint.tensors() == plain.tensors()
    found, expected = (
        denoiser(opened.load(torch.float32, torch.device("cpu"))).state_dict() for opened in (checkpoint, plain)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not (tmp_path / "exploded").exists()


def test_an_edited_copy_is_the_checkpoint_and_its_card(cloned: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "edited"
    copy_with_changes(Checkpoint.open(cloned), target, {NAME: torch.zeros_like}, lambda *_: None)
    assert set(contents(target)) == {*contents(tiny_checkpoint), "README.md"}
    differences = compare_folders(cloned, target)
    assert [(found.file, found.tensor) for found in differences] == [(f"unet/{PLAIN}", NAME)]
    (target / "vae" / PLAIN).unlink()
    (target / "more.bin").touch()
    assert {(found.file, found.what) for found in compare_folders(cloned, target) if found.what != "entries"} == {
        (f"vae/{PLAIN}", "is not in the edited folder"),
        ("more.bin", "is not in the base folder"),
    }


@pytest.mark.e2e
def test_plan_and_run_tell_it_once_and_a_release_is_without_it(
    cloned: Path, tiny_checkpoint: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"model.path": str(cloned)})
    told = "model.path: left out, neither opened nor copied: handler.py, pytorch_lora_weights.safetensors, samples/"
    for command in (["plan", recipe], ["run", recipe, "--until", "collect"]):
        result = excise(*command, "--out", tmp_path / "run")
        assert result.exit_code == 0, result.output
        printed = " ".join(result.output.split())
        assert printed.count(told) == 1 and "and 4 more" in printed
    (cloned / "samples" / "another.png").touch()
    again = excise("run", recipe, "--until", "collect", "--out", tmp_path / "run")
    assert "done before" in again.output, "nothing depends on what is left out"
    for pipe in cloned.rglob("pipe.safetensors"):
        pipe.unlink()  # which cannot be copied
    release = finished_run(tmp_path / "released", tiny_recipe, cloned, {})
    assert not {name.rstrip("/").rpartition("/")[2] for name in LEFT_OUT} & {file.name for file in release.rglob("*")}
    assert not (tmp_path / "exploded").exists()
