"""``make bench``: what collecting costs. Prints a table and writes ``runs/bench.json``.

* overhead: time of collect over that of the same bare denoiser calls, runs in turn, median of the paired ratios; for
  what masks are made from, and with second moments, which edits in closed form are fitted on;
* calls: denoiser calls of the plain approach over those of ours, and whether both end in the same mask, bit for bit;
* memory: peak of each approach, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from benchmarks.approaches import PUBLISHED, chunks_of, job_calls, load, measure, memorized_texts
from benchmarks.approaches import bare as run_bare
from excise.files.writing import write_json, write_tensors
from excise.recipe import Recipe, load_recipe
from excise.stages.collect import collect_chunk

GOALS = {"overhead": 1.05, "overhead_with_moments": 1.15, "fewer_calls": 9.0}
DEMANDS = {"overhead": PUBLISHED, "overhead_with_moments": replace(PUBLISHED, fitted=("second_moment",))}


@dataclass(frozen=True)
class Setting:
    """What is benchmarked; the defaults are the published setting, on the recipe's checkpoint and prompts."""

    recipe: Path
    prompts: int = 16
    """Memorized prompts to collect, at most."""
    steps: int = 50
    """Inference steps of a generation."""
    calls: int = 10
    """tau: calls that vote."""
    sparsity: float = 0.01
    """k: share of a row's entries."""

    def load(self, batch: int | None = None) -> Recipe:
        """The recipe in this setting."""
        recipe = load_recipe(self.recipe)
        changes = {"steps": self.steps, "batch": batch or recipe.sampling.batch}
        return recipe.model_copy(
            update={
                "sampling": recipe.sampling.model_copy(update=changes),
                "collect": recipe.collect.model_copy(update={"calls": self.calls}),
            }
        )


def overhead(name: str, recipe: Recipe, limit: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Collect a chunk of one of `DEMANDS`, with its sums written to disk, and its bare calls, in turn."""
    pipeline, sites = load(recipe)
    chunk = chunks_of(recipe, memorized_texts(recipe, limit))[0]

    def collect() -> None:
        write_tensors(folder / "chunk.safetensors", collect_chunk(recipe, pipeline, sites, chunk, DEMANDS[name]))

    both = {"collect": collect, "bare": lambda: run_bare(recipe, pipeline, chunk)}
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for approach in both.values():
        approach()  # once unmeasured: first calls allocate
    for _ in range(repeats):
        for label, approach in both.items():
            started = time.perf_counter()
            approach()
            seconds[label].append(time.perf_counter() - started)
    ratios = [ours / bare for ours, bare in zip(seconds["collect"], seconds["bare"], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "seconds": {label: round(statistics.median(times), 4) for label, times in seconds.items()},
        "prompts": len(chunk.texts),
        "calls": recipe.collect.calls,
        "goal": GOALS[name],
        "reached": statistics.median(ratios) <= GOALS[name],
    }


def in_process(approach: str, setting: Setting, batch: int, masks: Path) -> dict[str, Any]:
    """`measure` in a new process."""
    options = {**asdict(setting), "approach": approach, "batch": batch, "masks": masks}
    words = (word for name, value in options.items() for word in (f"--{name}", str(value)))
    command = [sys.executable, "-m", "benchmarks.run", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"benchmark of {approach} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def differing(first: Path, second: Path) -> dict[str, Any]:
    """How two sets of packed masks differ."""
    masks = [{name: np.unpackbits(bits.numpy()) for name, bits in load_file(path).items()} for path in (first, second)]
    assert masks[0].keys() == masks[1].keys()
    unlike = sum(int((masks[0][name] != masks[1][name]).sum()) for name in masks[0])
    selected = sum(int(bits.sum()) for bits in masks[0].values())
    return {"identical": unlike == 0, "differing": unlike, "selected": selected, "share": unlike / max(selected, 1)}


def benchmark(setting: Setting, repeats: int) -> dict[str, Any]:
    """All three measurements; the contents of ``bench.json``."""
    recipe = setting.load()
    batch = min(recipe.sampling.batch, recipe.collect.chunk, setting.prompts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = {
            "bare": ("bare", batch),
            f"ours at batch {batch}": ("ours", batch),
            "ours at batch 1": ("ours", 1),
            "plain": ("plain", 1),
        }
        masks = {label: folder / f"{label}.safetensors" for label in plan if label != "bare"}
        costs = {
            label: in_process(approach, setting, size, folder / f"{label}.safetensors")
            for label, (approach, size) in plan.items()
        }
        compared = {label: differing(masks["plain"], masks[label]) for label in masks if label != "plain"}
        overheads = {name: overhead(name, recipe, setting.prompts, repeats, folder) for name in DEMANDS}
    fewer = costs["plain"]["image_calls"] / costs["ours at batch 1"]["image_calls"]
    return {
        "recipe": recipe.name,
        "setting": {name: value for name, value in asdict(setting).items() if name != "recipe"},
        "machine": {"torch": torch.__version__, "threads": torch.get_num_threads(), "cores": os.cpu_count()},
        **overheads,
        "approaches": costs,
        "fewer_calls": {
            "factor": round(fewer, 2),
            "goal": GOALS["fewer_calls"],
            "reached": fewer >= GOALS["fewer_calls"],
        },
        "whole_job": whole_job(setting),
        "masks_against_plain": compared,
    }


def whole_job(setting: Setting) -> dict[str, Any]:
    """Calls of the plain approach over those of the recipe's own collect, at the published steps and its own."""
    recipe = load_recipe(setting.recipe)
    found = {}
    for steps in sorted({setting.steps, recipe.sampling.steps}, reverse=True):
        sampling = recipe.sampling.model_copy(update={"steps": steps})
        calls = job_calls(recipe.model_copy(update={"sampling": sampling}))
        ours = {name: count for name, count in calls.items() if name != "plain"}
        found[str(steps)] = {name: round(calls["plain"] / count, 2) for name, count in ours.items()}
    return found


def show(found: dict[str, Any], console: Console) -> None:
    """Print ``bench.json``."""
    table = Table(
        title=f"Collecting the statistics of {found['approaches']['plain']['prompts']} prompts", box=box.SIMPLE_HEAD
    )
    for heading in ("approach", "calls", "at batch 1", "seconds", "peak MiB", "mask against plain"):
        table.add_column(heading, justify="left" if heading in ("approach", "mask against plain") else "right")
    for name, cost in found["approaches"].items():
        compared = found["masks_against_plain"].get(name)
        mask = "" if compared is None else f"{compared['differing']} of {compared['selected']} entries differ"
        cells = (str(cost[key]) for key in ("calls", "image_calls", "seconds", "peak_mib"))
        table.add_row(name, *cells, "same bits" if compared and compared["identical"] else mask)
    console.print(table)
    for name, what in (("overhead", "collect"), ("overhead_with_moments", "with second moments")):
        console.print(f"{what} over bare calls: {found[name]['ratio']:.3f} (goal: at most {found[name]['goal']})")
    fewer = found["fewer_calls"]
    console.print(f"fewer calls than the plain approach: {fewer['factor']:.2f}x (goal: at least {fewer['goal']:g}x)")
    for steps, factors in found["whole_job"].items():
        said = ", ".join(f"{factor:.2f}x {name}" for name, factor in factors.items())
        console.print(f"the recipe's whole collect against the plain approach at {steps} steps: {said}")


def main() -> None:
    """Parse the command line; ``--approach`` is how the benchmark calls itself."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/testbed.toml"))
    for field in fields(Setting)[1:]:
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    parser.add_argument("--repeats", type=int, default=15, help="of the overhead measurement")
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    parser.add_argument("--approach", choices=("bare", "ours", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--masks", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    setting = Setting(**{field.name: getattr(given, field.name) for field in fields(Setting)})
    if given.approach:
        cost = measure(given.approach, setting.load(given.batch), setting.prompts, setting.sparsity, given.masks)
        print(json.dumps(asdict(cost)))
        return
    found = benchmark(setting, given.repeats)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.out, found)
    show(found, Console())
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
