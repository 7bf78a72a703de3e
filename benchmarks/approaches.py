"""Three approaches to collecting, each run in a process of its own so that its peak memory is its own.

``bare``
    The denoiser calls of ``ours``, without hooks and without sums.
``ours``
    What the collect stage does: stop after the calls that vote, no decoding, the empty prompt once, prompts batched.
``plain``
    What the published code does (Chavhan et al. 2024, arXiv 2406.18566): for every prompt two full generations at
    batch 1, of the prompt and of the empty prompt from the same latent, each decoded to an image, with the sites
    looked at in every call and the sums of all calls kept.

All three see the same prompts, memorized and empty: what the published setting demands without evidence of a shared
subspace. What a whole job collects, evidence included, is counted in `job_calls`. ``ours`` and ``plain`` end in the
published mask, by the same functions.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import denoise, noise_key
from excise.diffusion.load import denoiser, pick_device, pick_dtype, quiet_libraries
from excise.diffusion.observe import site_inputs
from excise.diffusion.sites import Site, find_sites
from excise.job.demand import demand_of
from excise.mathematics.column_energy import ColumnEnergy, column_norm
from excise.mathematics.wanda import exceeds, select_entries, vote
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe
from excise.run.statistics import Demand, sums_of
from excise.run.subspace import pack
from excise.stages.collect import SPENT, Chunk, collect_chunk, plan_chunks

PUBLISHED = Demand(("memorized", "empty"), ("both",), ("column_energy",))
"""What the published setting is made from."""


@dataclass(frozen=True)
class Cost:
    """What one approach cost."""

    approach: str
    batch: int
    prompts: int
    calls: int
    """Times the denoiser was run, on a batch of whatever size."""
    image_calls: int
    """The same counted image by image: calls at batch 1."""
    seconds: float
    """Of denoising, sums and (plain) decoding; loading the model and making the mask are left out."""
    peak_mib: int
    """Largest resident memory of the process, on a GPU the largest memory allocated there."""


def load(recipe: Recipe) -> tuple[DiffusionPipeline, tuple[Site, ...]]:
    """The recipe's pipeline and its sites."""
    quiet_libraries()
    device = pick_device(recipe.model.device)
    pipeline = Checkpoint.open(recipe.model.path).load(pick_dtype(recipe.model.dtype, device), device)
    return pipeline, find_sites(denoiser(pipeline))


def memorized_texts(recipe: Recipe, limit: int) -> list[str]:
    """The first ``limit`` of the memorized prompts that locating sees."""
    return [prompt.text for group in prompt_sets(recipe).located for prompt in group][:limit]


def chunks_of(recipe: Recipe, texts: list[str]) -> list[Chunk]:
    """The memorized prompts and one empty prompt, all from the shared latent, in the recipe's chunks."""
    key, size = noise_key("", recipe.collect.seed), recipe.collect.chunk
    parts = [tuple(texts[start : start + size]) for start in range(0, len(texts), size)]
    chunks = [Chunk("memorized", 0, part, (key,) * len(part)) for part in parts]
    return [*chunks, Chunk("empty", 0, ("",), (key,))]


def bare(recipe: Recipe, pipeline: DiffusionPipeline, chunk: Chunk) -> int:
    """Denoise a chunk in the batches that collecting makes of it, and look at nothing; returns the calls made."""
    made, size = 0, recipe.sampling.batch
    for start in range(0, len(chunk.texts), size):
        texts, keys = chunk.texts[start : start + size], chunk.keys[start : start + size]
        denoise(pipeline, texts, keys, recipe.sampling, recipe.collect.calls, decode=False)
        made += recipe.collect.calls
    return made


def ours(
    recipe: Recipe, pipeline: DiffusionPipeline, sites: tuple[Site, ...], chunks: list[Chunk]
) -> tuple[dict[str, list[ColumnEnergy]], int]:
    """Collect the chunks; the sums of each set by site, and the calls made."""
    parts: dict[str, list[dict[str, Tensor]]] = {"memorized": [], "empty": []}
    for chunk in chunks:
        parts[chunk.set].append(collect_chunk(recipe, pipeline, sites, chunk, PUBLISHED))
    made = sum(int(part.pop(SPENT)[0]) for done in parts.values() for part in done)

    def merged(done: list[dict[str, Tensor]], site: Site) -> ColumnEnergy:
        found = [sums_of(part)["both", "column_energy", site.name] for part in done]
        return ColumnEnergy.merge([energy for energy in found if isinstance(energy, ColumnEnergy)])

    return {name: [merged(done, site) for site in sites] for name, done in parts.items()}, made


def plain(
    recipe: Recipe, pipeline: DiffusionPipeline, sites: tuple[Site, ...], texts: list[str]
) -> tuple[dict[str, list[ColumnEnergy]], int]:
    """The plain approach; the sums of each set by site, of every call, and the calls made."""
    pipeline.scheduler.set_timesteps(recipe.sampling.steps)
    total = len(pipeline.scheduler.timesteps)
    found = {
        name: [ColumnEnergy.zeros(total, site.neurons, pipeline.device) for site in sites]
        for name in ("memorized", "empty")
    }
    made = call = 0
    target = found["memorized"]

    def receive(site: int, inputs: Tensor, _pass: int) -> None:
        target[site].add(inputs.unsqueeze(1))  # all rows are of one prompt
        target[site].end_call(call)

    def after_call(index: int) -> None:
        nonlocal call, made
        call, made = index + 1, made + 1

    key = noise_key("", recipe.collect.seed)
    with site_inputs(denoiser(pipeline), sites, receive):
        for text in texts:
            for name, prompt in (("memorized", text), ("empty", "")):
                target, call = found[name], 0
                denoise(pipeline, [prompt], [key], recipe.sampling, on_call=after_call)
    return found, made


def published_masks(
    recipe: Recipe, sites: tuple[Site, ...], found: dict[str, list[ColumnEnergy]], sparsity: float
) -> dict[str, Tensor]:
    """The published mask of each site, packed: top k per row, above the empty prompt's norm, union of the calls."""
    masks, checkpoint = {}, Checkpoint.open(recipe.model.path)
    for i, site in enumerate(sites):
        weight = checkpoint.read(site.tensor)
        norm, contrast = (column_norm(found[name][i]).cpu() for name in ("memorized", "empty"))
        calls = [
            select_entries(weight, norm[call], exceeds(norm[call], contrast[call]), sparsity)
            for call in range(recipe.collect.calls)
        ]
        masks[site.name] = pack(vote(torch.stack(calls), 0.0))
    return masks


def job_calls(recipe: Recipe) -> dict[str, int]:
    """Denoiser calls at batch 1 of a job's whole collect, with and without evidence, and of the plain approach."""
    sets = prompt_sets(recipe)
    found = {}
    for name, evidence in (("with evidence", True), ("without evidence", False)):
        settings = recipe.model_copy(update={"locate": recipe.locate.model_copy(update={"evidence": evidence})})
        chunks = plan_chunks(settings, sets, demand_of(settings))
        found[name] = sum(len(chunk.texts) for chunk in chunks) * recipe.collect.calls
    return found | {"plain": 2 * sum(map(len, sets.located)) * recipe.sampling.steps}


def measure(approach: str, recipe: Recipe, limit: int, sparsity: float, masks: Path) -> Cost:
    """Take one approach in this process; writes the masks it ends in to ``masks`` (``bare`` has none)."""
    texts = memorized_texts(recipe, limit)
    pipeline, sites = load(recipe)
    chunks = chunks_of(recipe, texts)
    started = time.monotonic()
    found: dict[str, list[ColumnEnergy]] = {}
    if approach == "bare":
        calls = sum(bare(recipe, pipeline, chunk) for chunk in chunks)
    elif approach == "ours":
        found, calls = ours(recipe, pipeline, sites, chunks)
    else:
        found, calls = plain(recipe, pipeline, sites, texts)
    seconds = time.monotonic() - started
    peak = peak_mib(pipeline.device)
    if found:
        save_file(published_masks(recipe, sites, found, sparsity), masks)
    images = calls if approach == "plain" else (len(texts) + 1) * recipe.collect.calls
    batch = 1 if approach == "plain" else recipe.sampling.batch
    return Cost(approach, batch, len(texts), calls, images, round(seconds, 2), peak)


def peak_mib(device: torch.device) -> int:
    """Largest memory so far: of the GPU if the model is on one, else resident memory of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device)) // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) // 2**20
