"""The plain way to what collect counts: prompts one by one through whole generations, every activation kept."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import denoise, noise_key
from excise.diffusion.sites import find_sites
from excise.recipe import Recipe


def pipeline_of(recipe: Recipe) -> DiffusionPipeline:
    return Checkpoint.open(recipe.model.path).load(torch.float32, torch.device("cpu"))


def site_inputs(recipe: Recipe, texts: list[str], calls: int) -> dict[str, Tensor]:
    """What each site is given, ``(prompts, calls, 2, tokens, neurons)`` float64; of the two rows the conditional is
    the last."""
    pipeline: Any = pipeline_of(recipe)
    kept: dict[str, list[Tensor]] = {}
    for site in find_sites(pipeline.unet):
        kept[site.name] = []
        layer = pipeline.unet.get_submodule(site.name)
        layer.register_forward_pre_hook(lambda _, inputs, name=site.name: kept[name].append(inputs[0].double()))
    for text in texts:
        denoise(pipeline, [text], [noise_key("", recipe.collect.seed)], recipe.sampling, calls=calls, decode=False)
    return {name: torch.stack(tensors).unflatten(0, (len(texts), calls)) for name, tensors in kept.items()}
