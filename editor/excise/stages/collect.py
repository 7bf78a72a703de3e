"""collect: denoise prompt sets for the first calls, and keep running statistics of the sites' inputs.

What is kept is what the recipe's ranking, edit and evidence demand (`excise.run.statistics`), and nothing else is
denoised. Chunks of prompts are the partial results: a killed collection resumes at the first chunk that is not on disk,
and the sums, merged in the order of the chunks, have the same bits.

A second file says what they cost.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open
from torch import Tensor

from excise.diffusion.denoise import calls_of, denoise, in_batches, noise_key, text_lengths
from excise.diffusion.load import denoiser, execution_device, pick_device, pick_dtype
from excise.diffusion.observe import site_inputs
from excise.diffusion.sites import Site
from excise.errors import ExciseError
from excise.files.writing import write_json, write_tensors
from excise.mathematics.statistics import STATISTICS, Statistic
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.merging import merge_sums
from excise.run.statistics import Demand, Sums, sums_of, tensors_of
from excise.stages.context import Context

SPENT = "cost"
"""Of a chunk: calls made, seconds, peak memory in bytes."""


@dataclass(frozen=True)
class Chunk:
    """Prompts whose sums are one partial result; all of one group of one set."""

    set: str
    group: int
    texts: tuple[str, ...]
    keys: tuple[int, ...]
    """Seed of each prompt's initial latent."""


def run(context: Context) -> None:
    """Collect, from the first chunk that is not done, and write the statistics and their cost.

    Raises:
        ExciseError: the checkpoint cannot be used; fewer calls in a generation than asked for; activations that
            are not finite.
    """
    recipe, processes = context.recipe, context.processes
    chunks = plan_chunks(recipe, context.sets, context.demand)
    context.run.partial("collect").mkdir(parents=True, exist_ok=True)
    files = [context.run.part("collect", f"{number:05d}") for number in range(len(chunks))]
    share = processes.share(list(zip(chunks, files, strict=True)))
    todo = [(chunk, file) for chunk, file in share if not file.exists()]
    if todo:
        device = pick_device(recipe.model.device)
        pipeline = context.base.load(pick_dtype(recipe.model.dtype, device), device, recipe.model.offload)
        sites = context.base.sites(recipe.collect.sites)
        check_calls(recipe, pipeline.scheduler)
        total = sum(len(chunk.texts) for chunk, _ in share)
        done = total - sum(len(chunk.texts) for chunk, _ in todo)
        with context.progress.counting("prompt", total, done) as bar:
            for chunk, file in todo:
                write_tensors(file, collect_chunk(recipe, pipeline, sites, chunk, context.demand))
                bar.update(len(chunk.texts))
    processes.wait()
    if processes.leads:
        names = [f"{chunk.set}/{chunk.group}" for chunk in chunks]
        merge_sums(context.run.statistics, list(zip(names, files, strict=True)), left_out=SPENT)
        write_json(context.run.cost, _cost(recipe, chunks, files))


def plan_chunks(recipe: Recipe, sets: PromptSets, demand: Demand) -> list[Chunk]:
    """Everything that is denoised, in order; a chunk never crosses a group, and depends on the recipe alone.

    With shared noise the empty prompt is one run. With a latent for each prompt it is run once from every latent of
    the memorized prompts, so that the two sets differ in nothing but the text.
    """
    shared = recipe.collect.noise == "shared"
    located = [prompt.text for group in sets.located for prompt in group]

    def key(text: str) -> int:
        return noise_key("" if shared else text, recipe.collect.seed)

    def pairs(texts: list[str]) -> list[tuple[str, int]]:
        return [(text, key(text)) for text in texts]

    groups = {
        "memorized": [pairs([prompt.text for prompt in group]) for group in sets.located],
        "control": [pairs([prompt.text for prompt in group]) for group in sets.control],
        "contrast": [pairs([prompt.text for prompt in sets.contrast])],
        "neighbours": [pairs([prompt.text for prompt in sets.neighbours])],
        "empty": [[("", key(text)) for text in ([""] if shared else located)]],
    }
    chunks = []
    for name in demand.sets:
        for number, group in enumerate(groups[name]):
            for start in range(0, len(group), recipe.collect.chunk):
                texts, keys = zip(*group[start : start + recipe.collect.chunk], strict=True)
                chunks.append(Chunk(name, number, texts, keys))
    return chunks


def collect_chunk(
    recipe: Recipe, pipeline: DiffusionPipeline, sites: tuple[Site, ...], chunk: Chunk, demand: Demand
) -> dict[str, Tensor]:
    """Statistics of a chunk, as `excise.run.statistics.tensors_of` names them, and what they cost."""
    started = time.monotonic()

    def work(start: int, stop: int) -> Sums:
        return _collect_batch(recipe, pipeline, sites, chunk, slice(start, stop), demand)

    made, merged = 0, dict[tuple[str, str, str], Statistic]()
    for sums in in_batches(work, text_lengths(pipeline, chunk.texts), recipe.sampling.batch):
        made += recipe.collect.calls
        batch = sums_of(tensors_of(sums))
        for key in list(batch):  # one by one: of the largest models' sums memory holds two, and no third
            part = batch.pop(key)
            merged[key] = STATISTICS[key[1]].merge([merged[key], part]) if key in merged else part
    tensors = tensors_of(merged)
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            dtype = str(denoiser(pipeline).dtype).removeprefix("torch.")
            raise ExciseError(
                f"model.dtype: activations at {name.split('/')[2]} are not finite in {dtype}; "
                "use bfloat16 or float32, or another checkpoint"
            )
    spent = [made, time.monotonic() - started, _peak_bytes(execution_device(pipeline))]
    return tensors | {SPENT: torch.tensor(spent).double()}


def _collect_batch(
    recipe: Recipe, pipeline: DiffusionPipeline, sites: tuple[Site, ...], chunk: Chunk, part: slice, demand: Demand
) -> Sums:
    """The sums of prompts that are denoised together, a part of a chunk."""
    calls, device = recipe.collect.calls, execution_device(pipeline)
    texts, keys, kinds = chunk.texts[part], chunk.keys[part], demand.of(chunk.set)
    sums: dict[tuple[str, str, str], Statistic] = {
        (rows, kind, site.name): STATISTICS[kind].zeros(calls, site.neurons, device)
        for rows in demand.rows
        for kind in kinds
        for site in sites
    }
    passes = first = 0

    def receive(site: int, inputs: Tensor, number: int) -> None:
        """Guidance stacks the unconditional rows on the conditional ones, or makes a second pass for them."""
        nonlocal passes
        passes = number + 1
        both = inputs.unflatten(0, (-1, len(texts)))  # (1 or 2, prompts, tokens, neurons)
        for rows in demand.rows:
            if rows == "both" or number == first:
                for kind in kinds:
                    sums[rows, kind, sites[site].name].add(both if rows == "both" else both[-1:])

    def after_call(call: int) -> None:
        nonlocal first
        for statistic in sums.values():
            statistic.end_call(call)
        first = passes

    with site_inputs(denoiser(pipeline), sites, receive):
        denoise(pipeline, texts, keys, recipe.sampling, calls, after_call, decode=False)
    return sums


def check_calls(recipe: Recipe, scheduler: Any) -> None:
    """Refuse to look at more calls than a generation makes.

    Raises:
        ExciseError: names the keys.
    """
    if (available := calls_of(scheduler, recipe.sampling)) < recipe.collect.calls:
        raise ExciseError(
            f"collect.calls: {recipe.collect.calls} calls asked for, but sampling.steps = {recipe.sampling.steps} "
            f"makes {available}; lower collect.calls and locate.calls, or raise sampling.steps"
        )


def _cost(recipe: Recipe, chunks: list[Chunk], files: list[Path]) -> dict[str, Any]:
    """What collecting cost.

    ``calls``: denoiser calls made, each on a batch; ``prompts``: prompts denoised; ``prompt_calls``: one for each
    prompt in each call, that is, calls at batch 1; ``seconds``: of denoising and its sums, loading left out;
    ``peak_memory_bytes``: largest, of the device where it is a GPU and else of the process; ``sets``: prompts of each
    group. All of them count what earlier, killed runs have left as if it were made in one.
    """
    cost = torch.stack([_spent(file) for file in files])
    groups: dict[str, dict[int, int]] = {}
    for chunk in chunks:
        sizes = groups.setdefault(chunk.set, {})
        sizes[chunk.group] = sizes.get(chunk.group, 0) + len(chunk.texts)
    prompts = sum(len(chunk.texts) for chunk in chunks)
    return {
        "calls": int(cost[:, 0].sum()),
        "prompts": prompts,
        "prompt_calls": prompts * recipe.collect.calls,
        "calls_per_prompt": recipe.collect.calls,
        "seconds": round(float(cost[:, 1].sum()), 3),
        "peak_memory_bytes": int(cost[:, 2].max()),
        "sets": {name: list(sizes.values()) for name, sizes in groups.items()},
    }


def _spent(file: Path) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        found: Tensor = opened.get_tensor(SPENT)
    return found


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
