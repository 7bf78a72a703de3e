"""``excise plan``: the estimate of a job, and whether it fits this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from excise.diffusion.load import pick_device, pick_dtype, quiet_libraries
from excise.job.demand import demand_of
from excise.job.estimate import MIB, estimate
from excise.job.notes import notes_of
from excise.job.preflight import check_inputs
from excise.job.runner import default_folder
from excise.job.sequence import NAMES
from excise.prompts.sets import prompt_sets
from excise.recipe import load_recipe
from excise.run.layout import Run
from excise.sources.bring import sketched
from excise.stages.context import Context


def plan_recipe(recipe_path: Path, out: Path | None, console: Console) -> bool:
    """Print what a recipe would do, and whether it fits here; False where it cannot. Nothing is computed or fetched.

    Raises:
        ExciseError: whatever a run would be refused for before it begins; weights are looked at only where they are
            here already.
    """
    recipe = load_recipe(recipe_path)
    quiet_libraries()
    run = Run(out or default_folder(recipe))
    with sketched(recipe) as local:
        context = Context(local, prompt_sets(local), run, demand_of(local))
        return show_plan(context, console, weights=local.model == recipe.model)


def show_plan(context: Context, console: Console, weights: bool = True) -> bool:
    """Print the estimate and whether it fits here; False where it cannot.

    Args:
        context: of the job.
        console: where it is printed.
        weights: whether the weights are here, and are read.

    Raises:
        ExciseError: as `excise.job.preflight.check_inputs`.
    """
    recipe, folder = context.recipe, context.run.folder
    check_inputs(context, weights)
    notes = notes_of(context)
    found = estimate(context)
    device = pick_device(recipe.model.device)
    host = psutil.virtual_memory().available
    memory = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else host
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    table = Table("what", "how much", title=f"{recipe.name}: {found.architecture} at {recipe.model.path}")
    table.add_row("stages", " → ".join(NAMES))
    table.add_row(
        "sites", f"{found.sites} ({recipe.collect.sites}), {found.neurons:,} neurons, {found.entries:,} weights"
    )
    table.add_row(
        "edit writes", f"{found.tensors} tensors, {_size(found.edited)}; all files: {_size(found.checkpoint)}"
    )
    table.add_row("collect", f"{found.collect_calls:,} denoiser calls of one prompt each, no image decoded")
    table.add_row("attack", f"{found.attack_calls:,} denoiser calls of one image each")
    table.add_row("weights", "read, no NaN or infinity" if weights else "not here yet, so not looked at for NaN")
    table.add_row(
        "memory",
        f"{_size(found.weights)} of weights on {device.type}, sums and activations beside; {_size(memory)} free",
    )
    for name in context.demand.sets:
        table.add_row("collected", f"{', '.join(context.demand.of(name))} of {name} prompts")
    table.add_row("sums", f"{_size(found.sums)} on {device.type} while collecting")
    table.add_row("statistics", f"{_size(found.statistics)}, and until collect is done {_size(found.partial)} of parts")
    table.add_row("merging", f"{_size(found.merging)} of memory for the statistics; {_size(host)} free")
    table.add_row("disk", f"{_size(found.disk)} needed in {folder}, {_size(free)} free")
    console.print(table)
    for note in notes:
        console.print(Text(note), soft_wrap=True)
    faults = []
    if found.disk > free:
        faults.append(f"{folder}: {_size(found.disk)} needed, {_size(free)} free; choose another disk with --out")
    if found.weights + found.sums > memory:
        faults.append(
            f"model.dtype: the weights take {_size(found.weights)} as {pick_dtype(recipe.model.dtype, device)}, the "
            f"sums {_size(found.sums)}, and {device.type} has {_size(memory)}; use bfloat16 or a larger device"
        )
    beside = found.weights if device.type == "cpu" else 0
    if found.merging + beside > host:
        faults.append(
            f"collect: merging the statistics takes {_size(found.merging)}"
            f"{f' beside {_size(beside)} of weights' if beside else ''}, and memory has {_size(host)}; lower "
            "collect.groups, or use a machine with more"
        )
    for fault in faults:
        console.print(f"[red]does not fit:[/red] {fault}")
    return not faults


def _size(count: int) -> str:
    return f"{count / MIB:,.1f} MiB" if count < 1024 * MIB else f"{count / MIB / 1024:,.2f} GiB"
