"""The edit of a recipe that nobody chose one for: what deletes most on the testbed, as far as a checkpoint allows."""

from __future__ import annotations

import math

from excise.checkpoint import Checkpoint
from excise.diffusion.process import Process
from excise.edits.unlearn import check_trainable
from excise.errors import ExciseError
from excise.recipe import Edit, ProjectEdit, Recipe, UnlearnEdit

MOST_MOMENTS = 20 * 10**9
"""Bytes of a prompt set's second moments; a machine holds two sets'. Stable Diffusion 3 has 14 GB, Flux 92."""
CHUNKS = ((4 * 10**9, 256), (2 * 10**8, 64))
"""From so many bytes on, prompts of a chunk, each of which leaves as many bytes on disk until collecting is done; from
the first on in two groups, each of which leaves them for good. As in the recipes of large models."""
LARGE = 10**8
"""Parameters from which on a training keeps few activations."""
KNOWN_RATE, KNOWN_PARAMETERS, LEAST_RATE = 3e-4, 5e6, 1e-5
"""The testbed's learning rate and size; and what fine-tunes of Stable Diffusion usually take, which its size gives."""


def with_best_edit(draft: Recipe, checkpoint: Checkpoint) -> Recipe:
    """A recipe with `best_edit`, that collects for it in chunks which a disk can hold."""
    size, collect, edit = _moments(checkpoint), draft.collect, best_edit(checkpoint)
    if edit.method == "project":
        chunk = next((chunk for least, chunk in CHUNKS if size >= least), collect.chunk)
        collect = collect.model_copy(update={"chunk": chunk} | ({"groups": 2} if size >= CHUNKS[0][0] else {}))
    return draft.model_copy(update={"edit": edit, "collect": collect})


def _moments(checkpoint: Checkpoint) -> int:
    """Bytes of one prompt set's second moments."""
    return sum(8 * site.neurons**2 for site in checkpoint.sites())


def best_edit(checkpoint: Checkpoint) -> Edit:
    """Directions weakened in closed form, then a training under attack; or what of it the checkpoint allows.

    Where no training loss is known there is no training; where second moments fill a memory there are zeros, as
    published. The learning rate falls with the number of parameters to the power of two thirds: a guess between two
    sizes, and one that a training which diverges says was too high.
    """
    if _moments(checkpoint) > MOST_MOMENTS:
        return Edit()
    project = ProjectEdit(filter=10.0)
    try:
        check_trainable(checkpoint.pipeline_class)
        Process.of(checkpoint.scheduler())
    except ExciseError:
        return Edit(method="project", project=project)
    parameters = sum(map(math.prod, checkpoint.shapes.values()))
    rate = KNOWN_RATE * (KNOWN_PARAMETERS / parameters) ** (2 / 3)
    training = UnlearnEdit(
        learning_rate=float(f"{min(max(rate, LEAST_RATE), KNOWN_RATE):.0e}"),
        distilled=True,
        gradient_checkpointing=parameters > LARGE,
    )
    return Edit(method="project", then=("unlearn",), project=project, unlearn=training)
