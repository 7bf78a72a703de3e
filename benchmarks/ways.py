"""Three ways through the denoiser, each run in a process of its own so that its peak memory is its own.

``bare``
    The denoiser calls of ``ours``, without hooks and without sums.
``ours``
    What the collect stage does: stop after the calls that vote, no decoding, the empty prompt once, prompts batched.
``plain``
    What the published code does (Chavhan et al. 2024, arXiv 2406.18566): for every prompt two full generations at
    batch 1, of the prompt and of the empty prompt from the same latent, each decoded to an image, with the sites
    looked at in every call and the sums of all calls kept.

All three see the same prompts: memorized and empty. The control and the ordinary contrast, which only ``ours``
collects in a job, are left out of the comparison. ``ours`` and ``plain`` end in the published mask, by the same
functions.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from excise.mathematics.moments import Moments, column_norm, merge, token_energy
from safetensors.torch import save_file
from torch import Tensor

from excise.checkpoint.weights import read_tensor
from excise.diffusion.denoise import denoise, noise_key
from excise.diffusion.load import denoiser, load_pipeline, pick_device, pick_dtype
from excise.diffusion.observe import site_inputs
from excise.diffusion.sites import Site, find_sites
from excise.job.preflight import quiet_libraries
from excise.mathematics.wanda import exceeds, select_entries, vote
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe
from excise.stages.collect import FIELDS, Chunk, collect_chunk
from excise.stages.locate import pack


@dataclass(frozen=True)
class Way:
    """What one way cost."""

    way: str
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
    pipeline = load_pipeline(recipe.model.path, pick_dtype(recipe.model.dtype, device), device)
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
) -> tuple[dict[str, list[Moments]], int]:
    """Collect the chunks; the moments of each set by site, and the calls made."""
    parts: dict[str, list[dict[str, Tensor]]] = {"memorized": [], "empty": []}
    for chunk in chunks:
        parts[chunk.set].append(collect_chunk(recipe, pipeline, sites, chunk))

    def moments(part: dict[str, Tensor], site: Site) -> Moments:
        return Moments(*(part[f"both/{site.name}/{field}"] for field in FIELDS))

    found = {name: [merge([moments(part, site) for part in done]) for site in sites] for name, done in parts.items()}
    return found, sum(int(part["cost"][0]) for done in parts.values() for part in done)


def plain(
    recipe: Recipe, pipeline: DiffusionPipeline, sites: tuple[Site, ...], texts: list[str]
) -> tuple[dict[str, list[Moments]], int]:
    """The plain way; the moments of each set by site, of every call, and the calls made."""
    pipeline.scheduler.set_timesteps(recipe.sampling.steps)
    total = len(pipeline.scheduler.timesteps)
    found = {
        name: [Moments.zeros(total, site.neurons, pipeline.device) for site in sites] for name in ("memorized", "empty")
    }
    made = call = 0
    target = found["memorized"]

    def receive(site: int, inputs: Tensor, _pass: int) -> None:
        target[site].add(call, token_energy(inputs).sum(dim=0, keepdim=True), len(inputs) * inputs.shape[1])

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
    recipe: Recipe, sites: tuple[Site, ...], found: dict[str, list[Moments]], sparsity: float
) -> dict[str, Tensor]:
    """The published mask of each site, packed: top k per row, above the empty prompt's norm, union of the calls."""
    masks = {}
    for i, site in enumerate(sites):
        weight = read_tensor(recipe.model.path, site.tensor)
        norm, contrast = (column_norm(found[name][i]).cpu() for name in ("memorized", "empty"))
        calls = [
            select_entries(weight, norm[call], exceeds(norm[call], contrast[call]), sparsity)
            for call in range(recipe.collect.calls)
        ]
        masks[site.name] = pack(vote(torch.stack(calls), 0.0))
    return masks


def measure(way: str, recipe: Recipe, limit: int, sparsity: float, masks: Path) -> Way:
    """Go one way in this process; writes the masks it ends in to ``masks`` (``bare`` has none)."""
    texts = memorized_texts(recipe, limit)
    pipeline, sites = load(recipe)
    chunks = chunks_of(recipe, texts)
    started = time.monotonic()
    found: dict[str, list[Moments]] = {}
    if way == "bare":
        calls = sum(bare(recipe, pipeline, chunk) for chunk in chunks)
    elif way == "ours":
        found, calls = ours(recipe, pipeline, sites, chunks)
    else:
        found, calls = plain(recipe, pipeline, sites, texts)
    seconds = time.monotonic() - started
    peak = peak_mib(pipeline.device)
    if found:
        save_file(published_masks(recipe, sites, found, sparsity), masks)
    images = calls if way == "plain" else (len(texts) + 1) * recipe.collect.calls
    return Way(way, 1 if way == "plain" else recipe.sampling.batch, len(texts), calls, images, round(seconds, 2), peak)


def peak_mib(device: torch.device) -> int:
    """Largest memory so far: of the GPU if the model is on one, else resident memory of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device)) // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) // 2**20
