"""The file that a folder was converted from, with the edit in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.checkpoint.export_original import of_original
from excise.checkpoint.exported import write_contents
from excise.errors import ExciseError
from tests.checkpoint.layouts import NAME, OTHER, PLAIN, alter
from tests.checkpoint.original import save_original
from tests.conftest import build_tiny_pipeline

THERE = "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.weight"
"""`NAME` in the original layout."""


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return save_original(build_tiny_pipeline(seed=0), tmp_path / "original.safetensors")


@pytest.fixture
def edited(base: Path) -> Checkpoint:
    """Some entries of one tensor are zero now, and one of them is something new."""
    weight = load_file(base / "unet" / PLAIN)[NAME].clone()
    weight[:3] = 0.0
    weight[3, 3] = 0.3
    alter(base / "unet" / PLAIN, **{NAME: weight})
    return Checkpoint.open(base)


def rewritten(path: Path, tensors: dict[str, Tensor], **metadata: str) -> None:
    save_file(load_file(path) | tensors, path, {"format": "pt"} | metadata)


def test_every_other_byte_is_the_files(original: Path, edited: Checkpoint, tmp_path: Path) -> None:
    contents = of_original(original, edited, [NAME])
    assert contents.notes == []
    found = load_file(write_contents(contents, tmp_path / "out.safetensors").path)
    before = load_file(original)
    assert [name for name, value in found.items() if not torch.equal(value, before[name])] == [THERE]
    assert torch.equal(found[THERE], edited.read(NAME))
    assert (tmp_path / "out.safetensors").stat().st_size == original.stat().st_size


def test_a_second_copy_of_the_denoiser_and_stale_hashes_are_left_out(
    original: Path, edited: Checkpoint, tmp_path: Path
) -> None:
    before = load_file(original)
    copies = {"model_ema.decay": torch.ones(1), "model_ema.diffusion_modelout0weight": torch.ones(4)}
    rewritten(original, copies, **{"modelspec.hash_sha256": "0x0", "modelspec.title": "tiny"})
    contents = of_original(original, edited, [NAME])
    first, second = contents.notes
    assert "left out: 2 tensors model_ema.*, a second copy of the UNet that was not edited" in first
    assert "modelspec.hash_sha256" in second and "title" not in second
    path = write_contents(contents, tmp_path / "out.safetensors").path
    found = load_file(path)
    assert found.keys() == before.keys()
    assert [name for name, value in found.items() if not torch.equal(value, before[name])] == [THERE]
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "modelspec.title": "tiny"}


def test_a_wider_tensor_keeps_what_was_not_edited(original: Path, edited: Checkpoint, tmp_path: Path) -> None:
    wide = load_file(original)[THERE].double() * (1 + 2.0**-40)
    rewritten(original, {THERE: wide})
    found = load_file(write_contents(of_original(original, edited, [NAME]), tmp_path / "out.safetensors").path)[THERE]
    assert found.dtype == torch.float64 and (wide != wide.float()).any()
    assert not found[:3].any() and found[3, 3] == edited.read(NAME)[3, 3]
    assert torch.equal(found[4:], wide[4:])


def test_a_narrower_tensor_that_cannot_hold_the_edit_is_refused(
    original: Path, edited: Checkpoint, tmp_path: Path
) -> None:
    rewritten(original, {THERE: load_file(original)[THERE].half()})
    with pytest.raises(ExciseError, match=rf"{NAME}: is F16 there, and was edited as F32, .*; export .*/base instead"):
        write_contents(of_original(original, edited, [NAME]), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_tensor_that_the_file_has_not_or_not_so(original: Path, edited: Checkpoint, tmp_path: Path) -> None:
    tensors = load_file(original)
    for name, change in {"without": None, "cut": tensors[THERE][:, 1:].contiguous()}.items():
        path = Path(shutil.copy(original, tmp_path / f"{name}.safetensors"))
        alter(path, **{THERE: change})
        with pytest.raises(ExciseError, match=rf"{name}\.safetensors: no tensor for the edited {NAME}"):
            of_original(path, edited, [OTHER, NAME])
