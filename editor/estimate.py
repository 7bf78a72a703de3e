"""``excise plan``: what a job will read, write, hold and compute, from configurations and headers alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.table import Table

from editor.attacks.arms import arms_of, attacked_sets, keys_of, seeds_of
from editor.diffusion.checkpoint import check_against_config, copies_of, tensor_places
from editor.diffusion.load import (
    check_folder,
    denoiser_folder,
    pick_device,
    pick_dtype,
    read_index,
)
from editor.diffusion.sites import sites_of
from editor.diffusion.tensorfile import BITS, read_header
from editor.plan import NAMES
from editor.prompts import PromptSets
from editor.recipe import Recipe
from editor.stages.collect import FIELDS, ROWS, plan_chunks

MIB = 2**20


@dataclass(frozen=True)
class Estimate:
    """All sizes in bytes."""

    architecture: str
    sites: int
    neurons: int
    tensors: int
    """Tensors that an edit writes, counted once for each copy of the weights (precision variants)."""
    entries: int
    edited: int
    """Size of those tensors: what an edit reads and writes if all other files can be linked or cloned."""
    checkpoint: int
    """Size of the whole folder: what an edit reads to verify, and writes where nothing can be linked."""
    weights: int
    """Weights of all components in the recipe's dtype: device memory without activations."""
    statistics: int
    images: int
    """Images of all arms, as they are kept in the run's folder."""
    disk: int
    collect_calls: int
    """Denoiser forward passes of one prompt each (two rows each under guidance)."""
    attack_calls: int


def estimate(recipe: Recipe, sets: PromptSets) -> Estimate:
    """What the job of a recipe takes, on a checkpoint that was checked."""
    base = recipe.model.path
    sites = sites_of(base, recipe.collect.sites)
    places = [place for found in tensor_places(base, [site.tensor for site in sites]).values() for place in found]
    files = sum(file.stat().st_size for file in base.rglob("*") if file.is_file())
    neurons = sum(site.neurons for site in sites)
    groups = 2 * recipe.collect.groups + 2
    statistics = groups * len(ROWS) * neurons * recipe.collect.calls * 8 * (len(FIELDS) - 2)
    plan, side = attacked_sets(sets), _side(recipe)
    counts = [
        len(plan[key]) * len(seeds_of(recipe, key)) for arm in arms_of(recipe, Path()) for key in keys_of(arm, plan)
    ]
    images = sum(counts) * 3 * side * side
    return Estimate(
        architecture=str(read_index(base)[denoiser_folder(base).name][1]),
        sites=len(sites),
        neurons=neurons,
        tensors=len(places),
        entries=sum(site.outputs * site.neurons for site in sites),
        edited=sum(entry.stop - entry.start for _, entry in places),
        checkpoint=files,
        weights=_numbers(base) * pick_dtype(recipe.model.dtype, pick_device(recipe.model.device)).itemsize,
        statistics=statistics,
        images=images,
        disk=2 * files + 2 * statistics + images + 64 * MIB,
        collect_calls=sum(len(chunk.texts) for chunk in plan_chunks(recipe, sets)) * recipe.collect.calls,
        attack_calls=sum(counts) * recipe.sampling.steps,
    )


def _numbers(path: Path) -> int:
    """Numbers in the weights of every component, in the copy that is loaded."""
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and any(folder.glob("*.safetensors"))]
    files = [file for folder in folders for file in next(iter(copies_of(folder).values()))]
    entries = [entry for file in files for entry in read_header(file).values()]
    return sum(8 * (entry.stop - entry.start) // BITS[entry.dtype] for entry in entries)


def _side(recipe: Recipe) -> int:
    """Height and width of the images in pixels, as the pipelines of diffusers choose them."""
    if recipe.sampling.size is not None:
        return recipe.sampling.size
    config = json.loads((denoiser_folder(recipe.model.path) / "config.json").read_text(encoding="utf-8"))
    latent = config.get("sample_size") or 128
    vae = recipe.model.path / "vae" / "config.json"
    described = json.loads(vae.read_text(encoding="utf-8")) if vae.exists() else {}
    channels = described.get("block_out_channels") or described.get(
        "encoder_block_out_channels"
    )  # the latter of Sana's
    levels = len(channels) if channels else 4
    side = int(latent if isinstance(latent, int) else latent[0])
    return side << (levels - 1)


def show_plan(recipe: Recipe, sets: PromptSets, folder: Path, console: Console) -> bool:
    """Print the estimate and whether it fits here; False where it cannot.

    Raises:
        ExciseError: a checkpoint that cannot be used; its denoiser's tensors do not fit its configuration.
    """
    check_folder(recipe.model.path)
    check_against_config(recipe.model.path)
    found = estimate(recipe, sets)
    device = pick_device(recipe.model.device)
    memory = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    table = Table("what", "how much", title=f"{recipe.name}: {found.architecture} at {recipe.model.path}")
    for note in sets.notes:
        table.add_row("prompts", note)
    table.add_row("stages", " → ".join(NAMES))
    table.add_row(
        "sites", f"{found.sites} ({recipe.collect.sites}), {found.neurons:,} neurons, {found.entries:,} weights"
    )
    table.add_row(
        "edit writes", f"{found.tensors} tensors, {_size(found.edited)}; all files: {_size(found.checkpoint)}"
    )
    table.add_row("collect", f"{found.collect_calls:,} denoiser calls of one prompt each, no image decoded")
    table.add_row("attack", f"{found.attack_calls:,} denoiser calls of one image each")
    table.add_row(
        "memory", f"{_size(found.weights)} of weights on {device.type}, activations beside; {_size(memory)} free"
    )
    table.add_row("statistics", _size(found.statistics))
    table.add_row("disk", f"{_size(found.disk)} needed in {folder}, {_size(free)} free")
    console.print(table)
    faults = []
    if found.disk > free:
        faults.append(f"{folder}: {_size(found.disk)} needed, {_size(free)} free; choose another disk with --out")
    if found.weights > memory:
        faults.append(
            f"model.dtype: the weights take {_size(found.weights)} as {pick_dtype(recipe.model.dtype, device)}, and "
            f"{device.type} has {_size(memory)}; use bfloat16 or a larger device"
        )
    for fault in faults:
        console.print(f"[red]does not fit:[/red] {fault}")
    return not faults


def _size(count: int) -> str:
    return f"{count / MIB:,.1f} MiB" if count < 1024 * MIB else f"{count / MIB / 1024:,.2f} GiB"
