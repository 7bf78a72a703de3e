"""``excise plan``: the estimate of a job, and whether it fits this machine."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from excise.diffusion.load import pick_device, pick_dtype, quiet_libraries
from excise.job.auto import supposed
from excise.job.demand import demand_of
from excise.job.estimate import MIB, Estimate, estimate
from excise.job.names import NAMES
from excise.job.notes import notes_of
from excise.job.preflight import check_inputs
from excise.job.runner import default_folder
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe, load_recipe
from excise.run.layout import Run
from excise.run.statistics import Demand
from excise.sources.bring import sketched
from excise.stages.context import Context


@dataclass(frozen=True)
class Plan:
    """What a job would take, and what this machine has; sizes in bytes."""

    recipe: Recipe
    folder: Path
    """Where the run would be."""
    demand: Demand
    notes: tuple[str, ...]
    """What a user should know of the inputs."""
    weights: bool
    """Whether the weights are here, and were read."""
    estimate: Estimate
    device: torch.device
    memory: int
    """Free on the device."""
    host: int
    """Free memory of the machine, in which statistics are merged."""
    free: int
    """Free on the disk."""
    faults: tuple[str, ...]
    """Why the job cannot fit this machine; none where it can."""

    def document(self) -> dict[str, Any]:
        """All of it for programs (``excise plan --json``)."""
        return {
            "recipe": self.recipe.name,
            "run": str(self.folder),
            "fits": not self.faults,
            "faults": self.faults,
            "notes": self.notes,
            "weights_read": self.weights,
            "stages": NAMES,
            "device": self.device.type,
            "memory_free": self.memory,
            "host_memory_free": self.host,
            "disk_free": self.free,
            "collected": {name: self.demand.of(name) for name in self.demand.sets},
            "estimate": asdict(self.estimate),
        }


def plan_recipe(recipe_path: Path, out: Path | None) -> Plan:
    """What a recipe would do, and whether it fits here. Nothing is computed or fetched.

    Raises:
        ExciseError: whatever a run would be refused for before it begins; weights are looked at only where they are
            here already.
    """
    recipe = load_recipe(recipe_path)
    quiet_libraries()
    run = Run(out or default_folder(recipe))
    with sketched(recipe) as local:
        sets = prompt_sets(local)
        made, told = supposed(local, sets)
        plan = plan_job(Context(made, sets, run, demand_of(made)), weights=local.model == recipe.model)
        return replace(plan, recipe=local, notes=(*told, *plan.notes))


def plan_job(context: Context, weights: bool = True) -> Plan:
    """The estimate and whether it fits here.

    Args:
        context: of the job.
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
    faults = []
    if found.disk > free:
        faults.append(f"{folder}: {_size(found.disk)} needed, {_size(free)} free; choose another disk with --out")
    if found.weights + found.sums > memory:
        faults.append(
            f"model.dtype: the weights take {_size(found.weights)} as {pick_dtype(recipe.model.dtype, device)}, the "
            f"sums {_size(found.sums)}, and {device.type} has {_size(memory)}; use bfloat16 or a larger device"
        )
    if found.training > memory:
        faults.append(
            f"edit.method: the training takes {_size(found.training)} without activations, and {device.type} has "
            f"{_size(memory)}; narrow edit.unlearn.scope, or use a larger device"
        )
    beside = found.weights if device.type == "cpu" else 0
    if found.merging + beside > host:
        faults.append(
            f"collect: the statistics of a chunk take {_size(found.merging)}"
            f"{f' beside {_size(beside)} of weights' if beside else ''}, and memory has {_size(host)}; use a machine "
            "with more, or an edit.method that needs no second moments (docs/methods.md)"
        )
    return Plan(recipe, folder, context.demand, tuple(notes), weights, found, device, memory, host, free, tuple(faults))


def show_plan(plan: Plan, console: Console) -> None:
    """Print it."""
    found = plan.estimate
    table = Table(
        "what",
        Column("how much", overflow="fold"),
        title=f"{plan.recipe.name}: {found.architecture} at {plan.recipe.model.path}",
    )
    table.add_row("stages", " → ".join(NAMES))
    table.add_row("sites", f"{found.sites} ({plan.recipe.collect.sites}), {found.neurons:,} neurons")
    table.add_row(
        "edit writes",
        f"{plan.recipe.edit.named}: {found.tensors} tensors ({plan.recipe.edited}), {_size(found.edited)}, at most "
        f"{found.entries:,} entries; all files: {_size(found.checkpoint)}",
    )
    table.add_row("collect", f"{found.collect_calls:,} denoiser calls of one prompt each, no image decoded")
    if found.edit_calls:
        table.add_row(
            "edit", f"{found.edit_calls:,} denoiser calls of one image each, {_size(found.training)} of memory"
        )
    table.add_row("attack", f"{found.attack_calls:,} denoiser calls of one image each")
    table.add_row("weights", "read, no NaN or infinity" if plan.weights else "not here yet, so not looked at for NaN")
    table.add_row(
        "memory",
        f"{_size(found.weights)} of weights on {plan.device.type}, sums and activations beside; "
        f"{_size(plan.memory)} free",
    )
    for name in plan.demand.sets:
        table.add_row("collected", f"{', '.join(plan.demand.of(name))} of {name} prompts")
    table.add_row("sums", f"{_size(found.sums)} on {plan.device.type} while collecting")
    table.add_row("statistics", f"{_size(found.statistics)}, and until collect is done {_size(found.partial)} of parts")
    table.add_row("merging", f"{_size(found.merging)} of memory for a chunk's statistics; {_size(plan.host)} free")
    table.add_row("disk", f"{_size(found.disk)} needed in {plan.folder}, {_size(plan.free)} free")
    console.print(table)
    for note in plan.notes:
        console.print(Text(note), soft_wrap=True)
    for fault in plan.faults:
        console.print(f"[red]does not fit:[/red] {fault}")


def _size(count: int) -> str:
    return f"{count / MIB:,.1f} MiB" if count < 1024 * MIB else f"{count / MIB / 1024:,.2f} GiB"
