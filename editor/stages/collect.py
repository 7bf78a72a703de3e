"""collect: denoise every prompt set for the first calls, and keep running statistics of the sites' inputs.

Writes `statistics.safetensors`: float64 tensors ``{set}/{group}/{rows}/{site}/{moment}``, with

* set: ``memorized``, ``control``, ``contrast`` or ``empty``; group: ``0`` …, for the last two only ``0``;
* rows: ``both`` rows of guidance pooled, as published, or ``conditional`` alone. Of the pooled rows a prompt's
  moments cannot be had from those of the parts, so the two choices of ``locate.rows`` are kept, each whole;
* moment: a field of `editor.mathematics.moments.Moments`.

Beside it `collect.json`: what it cost. Chunks of prompts are the partial results: a killed collection resumes at the
first chunk that is not on disk, and the sums, merged in the order of the chunks, have the same bits.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from editor.diffusion.checkpoint import check_finite
from editor.diffusion.denoise import calls_of, denoise, in_batches, noise_key, text_lengths
from editor.diffusion.hooks import site_inputs
from editor.diffusion.load import denoiser, execution_device, load_pipeline, pick_device, pick_dtype
from editor.diffusion.sites import Site, find_sites
from editor.errors import ExciseError
from editor.files import write_json, write_tensors
from editor.mathematics.moments import Moments, merge, token_energy
from editor.prompts import PromptSets
from editor.recipe import Recipe
from editor.team import ALONE, Team

OUTPUT = "statistics.safetensors"
COST = "collect.json"
ROWS = ("both", "conditional")
FIELDS = tuple(field.name for field in fields(Moments))


@dataclass(frozen=True)
class Chunk:
    """Prompts whose sums are one partial result; all of one group of one set."""

    set: str
    group: int
    texts: tuple[str, ...]
    keys: tuple[int, ...]
    """Seed of each prompt's initial latent."""


def run(recipe: Recipe, sets: PromptSets, folder: Path, team: Team = ALONE) -> None:
    """Collect, from the first chunk that is not done, and write `statistics.safetensors` and `collect.json`.

    Raises:
        ExciseError: the checkpoint cannot be used; fewer calls in a generation than asked for; activations that
            are not finite.
    """
    chunks = plan_chunks(recipe, sets)
    partial = folder / "partial" / "collect"
    partial.mkdir(parents=True, exist_ok=True)
    files = [partial / f"{number:05d}.safetensors" for number in range(len(chunks))]
    mine = team.mine(list(zip(chunks, files, strict=True)))
    todo = [(chunk, file) for chunk, file in mine if not file.exists()]
    if todo:
        device = pick_device(recipe.model.device)
        pipeline = load_pipeline(
            recipe.model.path, pick_dtype(recipe.model.dtype, device), device, recipe.model.offload
        )
        sites = _check(recipe, pipeline)
        total = sum(len(chunk.texts) for chunk, _ in mine)
        done = total - sum(len(chunk.texts) for chunk, _ in todo)
        with tqdm(desc="collect", unit="prompt", total=total, initial=done, disable=not team.leads) as progress:
            for chunk, file in todo:
                write_tensors(file, collect_chunk(recipe, pipeline, sites, chunk))
                progress.update(len(chunk.texts))
    team.wait()
    if team.leads:
        write_tensors(folder / OUTPUT, _merge(chunks, files))
        write_json(folder / COST, _cost(recipe, chunks, files))


def plan_chunks(recipe: Recipe, sets: PromptSets) -> list[Chunk]:
    """Everything that is denoised, in order; a chunk never crosses a group, and depends on the recipe alone.

    With shared noise the empty prompt is one run. With a latent for each prompt it is run once from every latent of
    the memorized prompts, so that the two sets differ in nothing but the text.
    """
    shared = recipe.collect.noise == "shared"
    groups = [("memorized", i, group) for i, group in enumerate(sets.located)]
    groups += [("control", i, group) for i, group in enumerate(sets.control)]
    groups += [("contrast", 0, sets.contrast)]

    def key(text: str) -> int:
        return noise_key("" if shared else text, recipe.collect.seed)

    runs = [(name, i, [(prompt.text, key(prompt.text)) for prompt in group]) for name, i, group in groups]
    located = [prompt.text for group in sets.located for prompt in group]
    runs.append(("empty", 0, [("", key(text)) for text in ([""] if shared else located)]))
    chunks = []
    for name, group, pairs in runs:
        for start in range(0, len(pairs), recipe.collect.chunk):
            texts, keys = zip(*pairs[start : start + recipe.collect.chunk], strict=True)
            chunks.append(Chunk(name, group, texts, keys))
    return chunks


Sums = dict[tuple[str, int], Moments]
"""Moments by kind of rows and index of the site."""


def collect_chunk(
    recipe: Recipe, pipeline: DiffusionPipeline, sites: tuple[Site, ...], chunk: Chunk
) -> dict[str, Tensor]:
    """Statistics of a chunk as ``{rows}/{site}/{moment}``, and ``cost``: calls made, seconds, peak memory in bytes."""
    started = time.monotonic()

    def work(start: int, stop: int) -> Sums:
        return _collect_batch(recipe, pipeline, sites, chunk.texts[start:stop], chunk.keys[start:stop])

    batches = list(in_batches(work, text_lengths(pipeline, chunk.texts), recipe.sampling.batch))
    tensors: dict[str, Tensor] = {}
    for rows, i in batches[0]:
        moments = merge([sums[rows, i] for sums in batches])
        if not bool(torch.isfinite(moments.energy).all()):
            dtype = str(denoiser(pipeline).dtype).removeprefix("torch.")
            raise ExciseError(
                f"model.dtype: activations at {sites[i].name} are not finite in {dtype}; "
                "use bfloat16 or float32, or another checkpoint"
            )
        tensors |= {f"{rows}/{sites[i].name}/{name}": getattr(moments, name).cpu() for name in FIELDS}
    device = batches[0]["both", 0].energy.device
    made = len(batches) * recipe.collect.calls
    tensors["cost"] = torch.tensor([made, time.monotonic() - started, _peak_bytes(device)]).double()
    return tensors


def _collect_batch(
    recipe: Recipe, pipeline: DiffusionPipeline, sites: tuple[Site, ...], texts: tuple[str, ...], keys: tuple[int, ...]
) -> Sums:
    """The sums of prompts that are denoised together."""
    calls, device = recipe.collect.calls, execution_device(pipeline)
    sums: Sums = {
        (rows, i): Moments.zeros(calls, site.neurons, device) for rows in ROWS for i, site in enumerate(sites)
    }
    open_sums: dict[tuple[str, int], tuple[Tensor, int]] = {}  # energies and tokens per prompt, of the call at hand
    passes = first = 0

    def put(rows: str, site: int, energy: Tensor, tokens: int) -> None:
        before = open_sums.get((rows, site))
        open_sums[rows, site] = (energy, tokens) if before is None else (before[0] + energy, before[1] + tokens)

    def receive(site: int, inputs: Tensor, number: int) -> None:
        """Guidance stacks the unconditional rows on the conditional ones, or makes a second pass for them."""
        nonlocal passes
        passes = number + 1
        energy = token_energy(inputs).unflatten(0, (-1, len(texts)))  # (1 or 2, prompts, neurons)
        if number == first:
            put("conditional", site, energy[-1], inputs.shape[1])
        put("both", site, energy.sum(dim=0), inputs.shape[1] * len(energy))

    def after_call(call: int) -> None:
        nonlocal first
        for key, (energy, tokens) in open_sums.items():
            sums[key].add(call, energy, tokens)
        open_sums.clear()
        first = passes

    with site_inputs(denoiser(pipeline), sites, receive):
        denoise(pipeline, texts, keys, recipe.sampling, calls, after_call, decode=False)
    return sums


def read_moments(statistics: dict[str, Tensor], name: str, group: int, rows: str, site: str) -> Moments:
    """The moments of one group of one set at one site."""
    return Moments(*(statistics[f"{name}/{group}/{rows}/{site}/{field}"] for field in FIELDS))


def _check(recipe: Recipe, pipeline: DiffusionPipeline) -> tuple[Site, ...]:
    """The sites; what can go wrong is found out before the first call."""
    sites = find_sites(denoiser(pipeline), recipe.collect.sites)
    check_finite(recipe.model.path, [site.tensor for site in sites])
    if (available := calls_of(pipeline, recipe.sampling)) < recipe.collect.calls:
        raise ExciseError(
            f"collect.calls: {recipe.collect.calls} calls asked for, but sampling.steps = {recipe.sampling.steps} "
            f"makes {available}; lower collect.calls and locate.calls, or raise sampling.steps"
        )
    return sites


def _by_group(chunks: list[Chunk], files: list[Path]) -> Iterator[tuple[str, list[dict[str, Tensor]]]]:
    for name, group in dict.fromkeys((chunk.set, chunk.group) for chunk in chunks):
        mine = [file for chunk, file in zip(chunks, files, strict=True) if (chunk.set, chunk.group) == (name, group)]
        yield f"{name}/{group}", [load_file(file) for file in mine]


def _merge(chunks: list[Chunk], files: list[Path]) -> dict[str, Tensor]:
    merged: dict[str, Tensor] = {}
    for prefix, parts in _by_group(chunks, files):
        for stem in {name.rpartition("/")[0] for name in parts[0] if name != "cost"}:
            total = merge([Moments(*(part[f"{stem}/{field}"] for field in FIELDS)) for part in parts])
            merged |= {f"{prefix}/{stem}/{field}": getattr(total, field) for field in FIELDS}
    return merged


def _cost(recipe: Recipe, chunks: list[Chunk], files: list[Path]) -> dict[str, Any]:
    """Contents of `collect.json`.

    ``calls``: denoiser calls made, each on a batch; ``prompts``: prompts denoised; ``prompt_calls``: one for each
    prompt in each call, that is, calls at batch 1; ``seconds``: of denoising and its sums, loading left out;
    ``peak_memory_bytes``: largest, of the device where it is a GPU and else of the process; ``sets``: prompts of each
    group. All of them count what earlier, killed runs have left as if it were made in one.
    """
    cost = torch.stack([load_file(file)["cost"] for file in files])
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


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
