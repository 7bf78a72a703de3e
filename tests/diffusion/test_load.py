from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from excise.checkpoint.lengths import cut_short
from excise.diffusion.load import check_folder, denoiser, denoiser_folder, load_pipeline, pick_device, variant_in
from excise.errors import ExciseError

CPU = torch.device("cpu")


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_checkpoint, tmp_path / "copy")


def test_a_stock_folder_loads_frozen(tiny_checkpoint: Path) -> None:
    pipeline = load_pipeline(tiny_checkpoint, torch.float32, CPU)
    network = denoiser(pipeline)
    assert denoiser_folder(tiny_checkpoint) == tiny_checkpoint / "unet"
    assert not network.training and not any(value.requires_grad for value in network.parameters())
    assert pipeline.safety_checker is None


def test_dtype(tiny_checkpoint: Path) -> None:
    assert denoiser(load_pipeline(tiny_checkpoint, torch.bfloat16, CPU)).dtype == torch.bfloat16


def test_a_folder_of_half_precision_alone_loads(copy: Path) -> None:
    (copy / "unet" / "diffusion_pytorch_model.safetensors").rename(
        copy / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    )
    for file in (*copy.glob("vae/*.safetensors"), *copy.glob("text_encoder/*.safetensors")):
        file.rename(file.with_suffix(".fp16.safetensors"))
    load_pipeline(copy, torch.float32, CPU)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("diffusion_pytorch_model.safetensors", None),
        ("diffusion_pytorch_model.fp16.safetensors", "fp16"),
        ("diffusion_pytorch_model-00001-of-00002.safetensors", None),
        ("diffusion_pytorch_model.fp16-00001-of-00002.safetensors", "fp16"),
        ("diffusion_pytorch_model-00001-of-00002.fp16.safetensors", "fp16"),
        ("diffusion_pytorch_model.safetensors.index.json", None),
        ("diffusion_pytorch_model.safetensors.index.fp16.json", "fp16"),
        ("diffusion_pytorch_model.non_ema.safetensors", "non_ema"),
    ],
)
def test_variants_by_name(name: str, variant: str | None) -> None:
    assert variant_in(name) == variant


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match=r"gone: no such checkpoint folder; correct model\.path"):
        check_folder(tmp_path / "gone")


def test_no_index(copy: Path) -> None:
    (copy / "model_index.json").unlink()
    with pytest.raises(ExciseError, match=r"model_index\.json: cannot be read"):
        check_folder(copy)


@pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.bin", "v1-5.ckpt", "text_encoder/model.PT"])
def test_pickles(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"")
    with pytest.raises(ExciseError, match=f"{name}: not safetensors, and never opened"):
        load_pipeline(copy, torch.float32, CPU)


def test_code(copy: Path) -> None:
    (copy / "unet" / "my_unet.py").write_text("raise SystemExit")
    with pytest.raises(ExciseError, match=r"my_unet\.py: custom code is never run"):
        check_folder(copy)


def test_no_safetensors(copy: Path) -> None:
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ExciseError, match="unet: no safetensors file"):
        check_folder(copy)


def test_a_second_copy_of_the_weights_beside_the_components(copy: Path) -> None:
    shutil.copy(copy / "unet" / "diffusion_pytorch_model.safetensors", copy / "v1-5-pruned.safetensors")
    with pytest.raises(ExciseError, match=r"v1-5-pruned\.safetensors: .* would stay unedited"):
        check_folder(copy)


def test_links_out_of_the_folder(copy: Path, tmp_path: Path) -> None:
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(tmp_path / "blob")
    file.symlink_to(tmp_path / "blob")
    with pytest.raises(ExciseError, match="a symbolic link to elsewhere"):
        check_folder(copy)


def test_links_of_the_hubs_cache(copy: Path, tmp_path: Path) -> None:
    """A snapshot's files are links to the blobs beside it, and to nothing else."""
    snapshot = tmp_path / "models--org--name" / "snapshots" / "0123456789abcdef"
    blobs = tmp_path / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(file for file in copy.rglob("*") if file.is_file())):
        place = snapshot / file.relative_to(copy)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blobs / str(number))
        place.symlink_to(os.path.relpath(blobs / str(number), place.parent))
    check_folder(snapshot)
    load_pipeline(snapshot, torch.float32, torch.device("cpu"))
    (tmp_path / "secret.json").write_text("{}")
    (snapshot / "unet" / "more.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(ExciseError, match="a symbolic link to elsewhere"):
        check_folder(snapshot)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": ["pipeline", "Mine"]}, "_class_name: .* is no pipeline of diffusers"),
        ({"_class_name": "MyPipeline"}, "_class_name: 'MyPipeline' is no pipeline of diffusers"),
        ({"unet": ["os", "system"]}, "unet: library 'os' is refused"),
        ({"unet": [None, None]}, "no denoiser"),
    ],
)
def test_indexes(copy: Path, change: dict[str, object], message: str) -> None:
    file = copy / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ExciseError, match=f"model_index.json: {message}"):
        check_folder(copy)


def test_weights_that_do_not_fit_the_configuration(copy: Path) -> None:
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ExciseError, match="diffusers cannot load this checkpoint"):
        load_pipeline(copy, torch.float32, CPU)


def test_devices() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda() -> None:
    with pytest.raises(ExciseError, match="no CUDA device"):
        pick_device("cuda")


def test_prompts_that_the_tokenizer_cuts_short_are_counted(tiny_checkpoint: Path) -> None:
    long = "a red circle in the center of a blue plain background " * 3
    assert cut_short(tiny_checkpoint, ["a red circle", long, long + "x"]) == {"tokenizer": 2}
    assert cut_short(tiny_checkpoint, ["a red circle"]) == {} == cut_short(tiny_checkpoint, [])
