"""edit: the folder it writes is the base with the located weights at zero, and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from excise.diffusion.load import load_pipeline
from excise.diffusion.patching import zeroed
from excise.diffusion.sites import Site
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.stages import edit, locate, rank


def test_the_edited_folder_is_the_base_with_those_weights_zero(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path
) -> None:
    base = tiny_recipe.model.path
    rank.run(tiny_recipe, tiny_sets, folder)
    locate.run(tiny_recipe, tiny_sets, folder)
    masks = locate.read_masks(folder, tiny_sites)
    edit.run(tiny_recipe, tiny_sets, folder)
    old = DiffusionPipeline.from_pretrained(base).unet.state_dict()
    edited = DiffusionPipeline.from_pretrained(folder / edit.OUTPUT)
    expected = {site.tensor: old[site.tensor].masked_fill(masks[site.name], 0.0) for site in tiny_sites}
    for name, value in edited.unet.state_dict().items():
        assert torch.equal(value, expected.get(name, old[name])), name
    pipeline = load_pipeline(base, torch.float32, torch.device("cpu"))
    inputs = torch.randn(1, 4, 8, 8), 400, torch.randn(1, 24, 16)
    with torch.no_grad(), zeroed(pipeline.unet, tiny_sites, masks):
        assert torch.equal(pipeline.unet(*inputs).sample, edited.unet(*inputs).sample)
    record = json.loads((folder / edit.RECORD).read_text())
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert record["changed"] == [weights]
    assert record["zeroed"] == sum(int(mask.sum()) for mask in masks.values())
    for site in tiny_sites:
        count = {"zeroed": int(masks[site.name].sum()), "entries": site.outputs * site.neurons}
        assert record["tensors"][site.tensor] == count
    for name, pair in record["files"].items():
        assert pair["base"] == hashlib.sha256((base / name).read_bytes()).hexdigest()
        assert pair["edited"] == hashlib.sha256((folder / edit.OUTPUT / name).read_bytes()).hexdigest()
        assert (pair["base"] == pair["edited"]) == (name != weights)
