"""What a job will read, write, hold and compute, from configurations and headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from excise.diffusion.load import pick_device, pick_dtype
from excise.diffusion.sites import Site
from excise.mathematics.statistics import STATISTICS
from excise.prompts.questions import questions_of
from excise.recipe import NemoEdit, UnlearnEdit
from excise.run.statistics import GROUPED
from excise.stages.collect import plan_chunks
from excise.stages.context import Context
from excise.trial.blocks import blocks_of
from excise.trial.subjects import subjects_of
from excise.trial.telling import tellings_of

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
    """Entries of these that may change, counted once."""
    edited: int
    """Size of those tensors: what an edit reads and writes if all other files can be linked or cloned."""
    checkpoint: int
    """Size of the whole folder: what an edit reads to verify, and writes where nothing can be linked."""
    weights: int
    """Weights of all components in the recipe's dtype: device memory without activations."""
    sums: int
    """Running sums of a batch of prompts: device memory while collecting."""
    statistics: int
    """What is kept of every group, on disk."""
    merging: int
    """Memory of the host that it takes: a chunk's sums, and those that are added to them, or are written."""
    partial: int
    """On disk until collect is done: the sums of every chunk."""
    images: int
    """Images of all models, as they are kept in the run's folder."""
    disk: int
    collect_calls: int
    """Denoiser forward passes of one prompt each (two rows each under guidance)."""
    edit_calls: int
    """Denoiser forward passes, in those of drawing, that an edit takes which runs the model; else 0."""
    training: int
    """Memory of a training: weights of the denoiser in float32, as they were, with gradients and moments; else 0."""
    attack_calls: int
    """Denoiser forward passes of one image each, searches counted in what they take of these."""


def estimate(context: Context) -> Estimate:
    """What the job of a recipe takes, on a checkpoint that was checked."""
    recipe, sets, base, demand = context.recipe, context.sets, context.base, context.demand
    sites = base.sites(recipe.collect.sites)
    sizes = base.editable(recipe.edited)
    places = [place for found in base.places(sizes).values() for place in found]
    files = base.size()
    running, kept = _sums(context, sites)
    chunks = plan_chunks(recipe, sets, demand)
    statistics = sum((len(sets.located) if name in GROUPED else 1) * kept[name] for name in demand.sets)
    partial = sum(kept[chunk.set] for chunk in chunks)
    asked, subjects = questions_of(sets), subjects_of(recipe, context.run, context.base)
    blocks, tellings = blocks_of(recipe, asked, subjects), tellings_of(recipe, asked, subjects)
    images = sum(len(block.pairs) * len(block.round.keys) for block in blocks)
    side = base.side(recipe.sampling.size)
    return Estimate(
        architecture=base.architecture,
        sites=len(sites),
        neurons=sum(site.neurons for site in sites),
        tensors=len(places),
        entries=sum(sizes.values()),
        edited=sum(entry.stop - entry.start for _, entry in places),
        checkpoint=files,
        weights=base.numbers() * pick_dtype(recipe.model.dtype, pick_device(recipe.model.device)).itemsize,
        sums=running,
        statistics=statistics,
        merging=2 * max(kept.values()),
        partial=partial,
        images=images * prod((3, side, side)),
        disk=2 * _moved(context) + 2 * files + 2 * statistics + partial + images * prod((3, side, side)) + 64 * MIB,
        edit_calls=_edit_calls(context),
        training=_training(context),
        collect_calls=sum(len(chunk.texts) for chunk in chunks) * recipe.collect.calls,
        attack_calls=sum(one.calls(recipe.sampling) for one in blocks)
        + sum(one.calls(recipe.sampling) for one in tellings),
    )


def _edit_calls(context: Context) -> int:
    edit, sets, calls = context.recipe.edit, context.sets, 0
    located, beside = sum(map(len, sets.located)), len(sets.neighbours) or len(sets.contrast)
    for settings in map(edit.settings, edit.methods):
        if isinstance(settings, UnlearnEdit):
            calls += settings.calls(located, bool(sets.neighbours), context.recipe.sampling.steps)
        elif isinstance(settings, NemoEdit):
            calls += settings.calls(located, beside)
    return calls


def _training(context: Context) -> int:
    """The base as it computes, its float32 copy that is trained, gradients, and what is kept of each trained entry."""
    if not (moved := _moved(context)):
        return 0
    model, numbers = context.recipe.model, sum(map(prod, context.base.shapes.values()))
    return numbers * (4 + pick_dtype(model.dtype, pick_device(model.device)).itemsize) + moved


def _moved(context: Context) -> int:
    """Bytes of what is trained and its two moments (gradients are as large), and of an average where one is kept."""
    settings = context.recipe.edit.trained
    if settings is None:
        return 0
    return 4 * sum(context.base.editable(settings.scope).values()) * (4 if settings.average else 3)


def _sums(context: Context, sites: Sequence[Site]) -> tuple[int, dict[str, int]]:
    """Bytes of the largest running sums of a batch, and of what is kept of a group of each set."""
    running, kept, demand = 0, {}, context.demand
    for name in demand.sets:
        sums = [
            STATISTICS[kind].zeros(context.recipe.collect.calls, site.neurons, torch.device("meta"))
            for _ in demand.rows
            for kind in demand.of(name)
            for site in sites
        ]
        size = sum(value.nbytes for found in sums for value in vars(found).values() if torch.is_tensor(value))
        running = max(running, size)
        kept[name] = sum(tensor.nbytes for found in sums for tensor in found.tensors().values())
    return running, kept
