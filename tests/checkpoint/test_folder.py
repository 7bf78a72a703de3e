"""What may stand in a checkpoint's folder, and what of it is the checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.checkpoint.folder import (
    check_folder,
    checkpoint_files,
    components_of,
    denoiser_of,
    read_index,
    variant_in,
    variant_of,
)
from excise.errors import ExciseError
from tests.checkpoint.layouts import HALF, PLAIN


def index_with(base: Path, change: dict[str, object]) -> None:
    file = base / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))


def test_a_stock_folder_passes(tiny_checkpoint: Path) -> None:
    check_folder(tiny_checkpoint)
    index = read_index(tiny_checkpoint)
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert components_of(index) == ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
    assert denoiser_of(tiny_checkpoint, index) == tiny_checkpoint / "unet"


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match=r"gone: no such checkpoint folder; correct model\.path"):
        check_folder(tmp_path / "gone")


def test_code_beside_a_components_files(base: Path) -> None:
    """diffusers imports ``unet/diffusers.py``, where there is one, instead of itself."""
    (base / "unet" / "diffusers.py").write_text("raise SystemExit")
    with pytest.raises(ExciseError, match=r"diffusers\.py: custom code is never run"):
        check_folder(base)


def test_an_adapter_that_would_be_loaded(base: Path) -> None:
    (base / "text_encoder" / "adapter_config.json").write_text("{}")
    with pytest.raises(ExciseError, match=r"adapter_config\.json: an adapter that would be loaded, and not edited"):
        check_folder(base)


@pytest.mark.parametrize("name", [f"unet/{PLAIN}", "model_index.json", "LICENSE", "README.md", "tokenizer/vocab.json"])
def test_links_out_of_the_folder(base: Path, tmp_path: Path, name: str) -> None:
    file = base / name
    file.touch()
    file.rename(tmp_path / "blob")
    file.symlink_to(tmp_path / "blob")
    with pytest.raises(ExciseError, match="a symbolic link to elsewhere"):
        check_folder(base)


def test_links_to_folders(base: Path) -> None:
    (base / "unet").rename(base / "other")
    (base / "unet").symlink_to(base / "other")
    with pytest.raises(ExciseError, match=r"unet: a symbolic link to elsewhere; copy the folder with cp -rL"):
        check_folder(base)


def test_links_of_the_hubs_cache(base: Path, tmp_path: Path) -> None:
    """A snapshot's files are links to the blobs beside it, and to nothing else."""
    snapshot = tmp_path / "models--org--name" / "snapshots" / "0123456789abcdef"
    blobs = tmp_path / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(file for file in base.rglob("*") if file.is_file())):
        place = snapshot / file.relative_to(base)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blobs / str(number))
        place.symlink_to(os.path.relpath(blobs / str(number), place.parent))
    check_folder(snapshot)
    Checkpoint.open(snapshot).load(torch.float32, torch.device("cpu"))
    (tmp_path / "secret.json").write_text("{}")
    (snapshot / "unet" / "notes.md").symlink_to(tmp_path / "secret.json")
    check_folder(snapshot)  # not of the checkpoint, and never opened
    (snapshot / "unet" / "more.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(ExciseError, match="a symbolic link to elsewhere"):
        check_folder(snapshot)


def test_no_index(base: Path) -> None:
    (base / "model_index.json").unlink()
    with pytest.raises(ExciseError, match=r"model_index\.json: cannot be read .*give a folder in diffusers layout"):
        read_index(base)


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_an_index_that_is_no_json(base: Path, text: bytes) -> None:
    (base / "model_index.json").write_bytes(text)
    with pytest.raises(ExciseError, match=r"model_index\.json: not valid JSON: .*fetch it again"):
        read_index(base)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": ["pipeline", "Mine"]}, "_class_name: .* is not a pipeline of diffusers"),
        ({"_class_name": "MyPipeline"}, "_class_name: 'MyPipeline' is not a pipeline of diffusers"),
        ({"unet": ["os", "system"]}, "unet: library 'os' is refused"),
        ({"unet": ["diffusers"]}, "unet: is not a component"),
        ({"../vae": ["diffusers", "AutoencoderKL"]}, r"\.\./vae: is not a component; each is a plain name"),
    ],
)
def test_an_index_of_what_is_not_stock(base: Path, change: dict[str, object], message: str) -> None:
    index_with(base, change)
    with pytest.raises(ExciseError, match=rf"model_index\.json: {message}"):
        read_index(base)


def test_no_denoiser(base: Path) -> None:
    index_with(base, {"unet": [None, None]})
    with pytest.raises(ExciseError, match=r"model_index\.json: no denoiser; one of unet, transformer is needed"):
        denoiser_of(base, read_index(base))


def test_no_safetensors(base: Path) -> None:
    (base / "unet" / PLAIN).unlink()
    with pytest.raises(ExciseError, match="unet: no safetensors file; save the denoiser with safe_serialization=True"):
        denoiser_of(base, read_index(base))


def test_components_are_those_with_a_library(base: Path) -> None:
    index_with(base, {"safety_checker": [None, None], "_name": ["diffusers", "x"], "feature_extractor": None})
    assert components_of(read_index(base)) == ("scheduler", "text_encoder", "tokenizer", "unet", "vae")


def test_what_else_lies_in_the_folder_is_not_of_the_checkpoint(base: Path) -> None:
    everything = tuple(sorted(file.relative_to(base).as_posix() for file in base.rglob("*") if file.is_file()))
    assert checkpoint_files(base) == everything
    for name in ("notes.md", "sample.png", "unet/.hidden.json", ".cache/huggingface/x.json", "unet/more/deep.json"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).touch()
    (base / "LICENSE.md").touch()
    (base / "unet" / HALF).touch()
    assert checkpoint_files(base) == tuple(sorted({*everything, "LICENSE.md", f"unet/{HALF}"}))
    index_with(base, {"vae": [None, None]})
    assert not any(name.startswith("vae/") for name in checkpoint_files(base))


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


def test_the_plain_variant_is_loaded_where_it_is_there_and_else_the_first(tmp_path: Path) -> None:
    assert variant_of(tmp_path) is None
    for name, loaded in (
        ("model.non_ema.safetensors", "non_ema"),
        ("model.fp16.safetensors", "fp16"),
        ("model.safetensors", None),
    ):
        (tmp_path / name).touch()
        assert variant_of(tmp_path) == loaded
