"""Loading: frozen, in the dtype asked for, from whichever variant is there; devices and dtypes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableCascadePriorPipeline

from excise.checkpoint import Checkpoint
from excise.diffusion.load import denoiser, execution_device, pick_device, pick_dtype
from excise.errors import ExciseError

CPU = torch.device("cpu")


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


def test_a_stock_folder_loads_frozen(tiny_checkpoint: Path) -> None:
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, CPU)
    network = denoiser(pipeline)
    assert network is pipeline.unet
    assert not network.training and not any(value.requires_grad for value in network.parameters())
    assert pipeline.safety_checker is None
    assert execution_device(pipeline) == CPU


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype(tiny_checkpoint: Path, dtype: torch.dtype) -> None:
    assert denoiser(Checkpoint.open(tiny_checkpoint).load(dtype, CPU)).dtype == dtype


def test_a_folder_of_half_precision_alone_loads(copy: Path, tiny_checkpoint: Path) -> None:
    for file in copy.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    found = denoiser(Checkpoint.open(copy).load(torch.float32, CPU)).state_dict()
    plain = denoiser(Checkpoint.open(tiny_checkpoint).load(torch.float32, CPU)).state_dict()
    assert found.keys() == plain.keys() and all(torch.equal(found[name], plain[name]) for name in plain)


def test_weights_that_do_not_fit_the_configuration(copy: Path) -> None:
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ExciseError, match="copy: diffusers cannot load this checkpoint"):
        Checkpoint.open(copy).load(torch.float32, CPU)


def test_a_pipeline_without_a_denoiser_that_we_know_is_named() -> None:
    pipeline = StableCascadePriorPipeline(tokenizer=None, text_encoder=None, prior=None, scheduler=None)
    with pytest.raises(ExciseError, match="StableCascadePriorPipeline: no denoiser; one of unet, transformer"):
        denoiser(pipeline)


def test_devices() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda() -> None:
    with pytest.raises(ExciseError, match="no CUDA device"):
        pick_device("cuda")


@pytest.mark.parametrize("able", [{}, {"avx512_bf16": False}, {"avx512_bf16": True}, {"amx_bf16": True}])
def test_dtypes(able: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert pick_dtype("auto", CPU) == (torch.bfloat16 if any(able.values()) else torch.float32)
    for name in ("float32", "bfloat16", "float16"):
        assert pick_dtype(name, CPU) == getattr(torch, name)
