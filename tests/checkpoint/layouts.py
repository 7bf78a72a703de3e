"""The layouts that weights come in: plain, in half precision beside it, in shards; and two sites' tensors in them."""

from __future__ import annotations

from pathlib import Path

from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

NAME = "mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight"
OTHER = "up_blocks.0.attentions.1.transformer_blocks.0.ff.net.2.weight"
PLAIN = "diffusion_pytorch_model.safetensors"
HALF = "diffusion_pytorch_model.fp16.safetensors"


def add_half_precision(base: Path) -> None:
    """The denoiser's weights in float16 too, beside the plain ones."""
    weights = load_file(base / "unet" / PLAIN)
    save_file({name: tensor.half() for name, tensor in weights.items()}, base / "unet" / HALF, {"format": "pt"})


def shard(base: Path) -> None:
    """The denoiser's weights in several files instead of one."""
    model = UNet2DConditionModel.from_pretrained(base / "unet")
    (base / "unet" / PLAIN).unlink()
    model.save_pretrained(base / "unet", max_shard_size="300KB")
    assert len(list((base / "unet").glob("*.safetensors"))) > 2


def alter(file: Path, **tensors: Tensor | None) -> None:
    """Put tensors into a safetensors file, or, where None is given, take them out."""
    weights = load_file(file) | tensors
    kept = {name: value.contiguous() for name, value in weights.items() if value is not None}
    file.unlink()  # it may be a link
    save_file(kept, file, {"format": "pt"})


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
