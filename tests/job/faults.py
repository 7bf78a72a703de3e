"""Faults of a job's inputs, made for real: of recipes, checkpoints, instruments and pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from excise.recipe import Recipe
from tests.conftest import MEMORIZED, write_table
from tests.diffusion.pipelines import save

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@dataclass(frozen=True)
class Workshop:
    """Where faults are made: a folder, and a recipe that is whole."""

    folder: Path
    recipe: Recipe

    def checkpoint(self, family: str = "") -> Path:
        """A checkpoint that may be broken: the recipe's own, or a tiny one of another family."""
        place = self.folder / f"checkpoint-{family}"
        return save(family, place) if family else Path(shutil.copytree(self.recipe.model.path, place))

    def indexed(self, change: dict[str, object], family: str = "") -> Path:
        """A checkpoint with a changed index."""
        path = self.checkpoint(family)
        file = path / "model_index.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
        return path

    def spoiled(self, file: str, value: float = float("nan")) -> Path:
        """A checkpoint with one number that is none, in the last place of a file's largest tensor."""
        path = self.checkpoint()
        weights = load_file(path / file)
        name = max(weights, key=lambda key: weights[key].numel())
        weights[name].view(-1)[-1] = value
        save_file(weights, path / file, {"format": "pt"})
        return path

    def without(self, name: str) -> Path:
        """A checkpoint without a file or folder."""
        path = self.checkpoint()
        shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
        return path

    def written(self, file: str, data: bytes) -> Path:
        """A checkpoint with other bytes in a file."""
        path = self.checkpoint()
        (path / file).write_bytes(data)
        return path

    def pictured(self, picture: Callable[[Path], object]) -> Path:
        """The memorized table, one of whose images is what ``picture`` writes."""
        table = self.recipe.prompts.memorized
        shutil.copytree(table.parent, self.folder / "tables")
        (self.folder / "tables" / "verbatim3.png").unlink()
        picture(self.folder / "tables" / "verbatim3.png")
        return self.folder / "tables" / table.name

    def scripted(self, module: torch.nn.Module) -> Path:
        """A TorchScript file."""
        torch.jit.script(module).save(str(self.folder / "sscd.pt"))
        return self.folder / "sscd.pt"

    def kinds(self) -> Path:
        """A memorized table with a kind that nobody knows."""
        rows = [{"prompt": text, "image": "", "kind": "verbatm"} for text in MEMORIZED]
        return write_table(self.folder / "kinds.csv", rows)


class Flat(torch.nn.Module):
    """One number of all images together: no descriptor."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean()


class Narrow(torch.nn.Module):
    """A program for images of another size."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3 * 8 * 8, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images.flatten(1))


def cut_off(path: Path) -> None:
    """Half a photograph."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:4000])


def enormous(path: Path) -> None:
    """108 million pixels, in a small file."""
    Image.new("1", (12000, 9000)).save(path)


def bomb(path: Path) -> None:
    """400 million pixels."""
    Image.new("1", (20000, 20000)).save(path)


FAULTS: dict[str, tuple[Callable[[Workshop], dict[str, Any]], str]] = {
    "no sscd file": (lambda _: {"validate.sscd": "gone.pt"}, "validate.sscd: gone.pt is not there"),
    "sscd is no program": (lambda w: {"validate.sscd": str(w.recipe.prompts.judged)}, "not TorchScript"),
    "sscd of another shape": (lambda w: {"validate.sscd": str(w.scripted(Narrow()))}, "makes no descriptors of images"),
    "sscd of one number": (lambda w: {"validate.sscd": str(w.scripted(Flat()))}, "makes no descriptors of images"),
    "no judge": (lambda _: {"validate.judge": "gone"}, "validate.judge: gone is not there"),
    "no licence file": (lambda _: {"release.license_files": ["gone.txt"]}, "release: gone.txt is not there"),
    "no key": (lambda _: {"release.key": "gone.pem"}, "release: gone.pem is not there"),
    "sdxl without text_encoder_2": (
        lambda w: {"model.path": str(w.indexed({"text_encoder_2": [None, None]}, "sdxl"))},
        "text_encoder_2 is not there, and a StableDiffusionXLPipeline draws nothing without it",
    ),
    "no vae in the index": (lambda w: {"model.path": str(w.indexed({"vae": None}))}, "vae is not there"),
    "a class that is not": (
        lambda w: {"model.path": str(w.indexed({"text_encoder": ["transformers", "CLIPTextModelX"]}))},
        "text_encoder: transformers has no CLIPTextModelX",
    ),
    "a scheduler that is not": (
        lambda w: {"model.path": str(w.indexed({"scheduler": ["diffusers", "NoScheduler"]}))},
        "scheduler: diffusers has no NoScheduler; use a checkpoint of stock classes",
    ),
    "inpainting": (
        lambda w: {"model.path": str(w.indexed({"_class_name": "StableDiffusionInpaintPipeline"}))},
        "StableDiffusionInpaintPipeline is not one of the text-to-image pipelines that are supported",
    ),
    "no scheduler": (lambda w: {"model.path": str(w.without("scheduler"))}, "scheduler: is empty or not there"),
    "no tokenizer": (lambda w: {"model.path": str(w.without("tokenizer"))}, "tokenizer: is empty or not there"),
    "no vae": (lambda w: {"model.path": str(w.without("vae"))}, "vae/config.json: is empty or not there"),
    "no weights of the vae": (lambda w: {"model.path": str(w.without(VAE))}, "vae: no safetensors file"),
    "half an encoder": (
        lambda w: {"model.path": str(w.written(TEXT, b"\x05\0\0"))},
        "model.safetensors: cut short, or not a safetensors file",
    ),
    "a broken tokenizer": (
        lambda w: {"model.path": str(w.written("tokenizer/tokenizer.json", b"{"))},
        "tokenizer: cannot be loaded as a tokenizer",
    ),
    "nan in the denoiser": (lambda w: {"model.path": str(w.spoiled(UNET))}, f"{UNET}: "),
    "nan in the autoencoder": (lambda w: {"model.path": str(w.spoiled(VAE))}, f"{VAE}: "),
    "infinity in the encoder": (lambda w: {"model.path": str(w.spoiled(TEXT, float("inf")))}, f"{TEXT}: "),
    "nan in the twin": (lambda w: {"model.twin": str(w.spoiled(VAE))}, "holds NaN or infinity; fetch the checkpoint"),
    "a twin of another architecture": (
        lambda w: {"model.twin": str(w.checkpoint("sdxl"))},
        "its pipeline is a StableDiffusionXLPipeline, the base's a StableDiffusionPipeline; a twin differs from",
    ),
    "half a picture": (lambda w: {"prompts.memorized": str(w.pictured(cut_off))}, "cannot be read as an image"),
    "no picture": (
        lambda w: {"prompts.memorized": str(w.pictured(lambda path: path.write_text("no picture")))},
        "verbatim3.png: cannot be read as an image",
    ),
    "108 megapixels": (
        lambda w: {"prompts.memorized": str(w.pictured(enormous))},
        "verbatim3.png: 12000 x 9000 are 108 million pixels, and at most 64 million are read",
    ),
    "400 megapixels": (
        lambda w: {"prompts.memorized": str(w.pictured(bomb))},
        "verbatim3.png: has more pixels than the 64 million that are read",
    ),
    "an unknown kind": (lambda w: {"prompts.memorized": str(w.kinds())}, "is of kind 'verbatm'"),
    "size 65": (lambda _: {"sampling.size": 65}, "is a multiple of 8 (StableDiffusionPipeline): use 64 or 72"),
    "size 8": (lambda _: {"sampling.size": 8}, "sampling.size: 8 pixels; images are compared on"),
    "more tiles than pixels": (lambda _: {"validate.tiles": 100}, "validate.tiles"),
    "more calls than steps": (
        lambda _: {"collect.calls": 30},
        "collect.calls: 30 calls asked for, but sampling.steps = 4 makes 4",
    ),
    "relearning of text without a length": (
        lambda w: {
            "attack.methods": ["replay", "relearn"],
            "model.path": str(w.checkpoint("cogview4")),
            "sampling.size": 64,
        },
        "attack.methods: 'relearn' cannot train a CogView4Pipeline, whose text is as long as the longest prompt of a "
        "batch; it can train StableDiffusionPipeline, ",
    ),
    "prompts without guidance": (
        lambda w: {
            "attack.methods": ["replay", "prompt"],
            "model.path": str(w.checkpoint("flux")),
            "sampling.size": 64,
        },
        "attack.prompt.ways: 'gibbs' compares what a model says with and without the prompt, and a FluxPipeline, ",
    ),
    "a scheduler of another kind": (
        lambda _: {"attack.methods": ["replay", "samplers"], "attack.samplers.schedulers": ["FlowMatchHeunScheduler"]},
        "attack.samplers.schedulers: FlowMatchHeunScheduler is not compatible with this model's DDIMScheduler; use ",
    ),
    "less than one neuron": (lambda _: {"locate.sparsity": 0.001}, "locate.sparsity: 0.001 of the 64 neurons"),
    "no such sites": (
        lambda w: {"model.path": str(w.checkpoint("cogview4")), "collect.sites": "cross_value", "sampling.size": 64},
        "collect.sites: a CogView4Transformer2DModel has no sites of the family",
    ),
}
"""What is wrong: how it is made, as changed keys of a recipe, and what must be said."""
