"""The beginning of a recipe, from what a checkpoint itself says: its pipeline's own steps and guidance."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, TypeVar

import diffusers
from pydantic import ValidationError

from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import calls_of
from excise.diffusion.pipelines import kind_of
from excise.errors import ExciseError
from excise.prompts.prompt import read_prompts
from excise.recipe import Model, Prompts, Recipe, Sampling
from excise.recipe.fields import Section

TIMESTEP_DISTILLED = Sampling(steps=4, guidance=0.0)
"""A Flux without guidance embeddings is the one that was distilled to few steps (schnell)."""


def draft_recipe(
    checkpoint: Path,
    folder: Path,
    memorized: Path | None = None,
    model: Model | None = None,
    never_seen: Path | None = None,
) -> Recipe:
    """A recipe of a checkpoint and the tables in a folder, with sampling as in a plain recipe."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "scan"
    return Recipe(
        name=name,
        model=model or Model(path=checkpoint),
        prompts=Prompts(
            memorized=memorized or folder / "memorized.csv",
            ordinary=folder / "ordinary.csv",
            judged=folder / "judged.csv",
            never_seen=never_seen,
        ),
    )


def with_sampling(draft: Recipe, scheduler: Any, sampling: Sampling) -> Recipe:
    """The draft with sampling, and no more calls looked at than a generation makes."""
    available = calls_of(scheduler, sampling)
    calls = {"calls": min(draft.collect.calls, available)}
    return draft.model_copy(
        update={
            "sampling": sampling,
            "collect": draft.collect.model_copy(update=calls),
            "locate": draft.locate.model_copy(update=calls),
        }
    )


def check_never_seen(table: Path | None) -> None:
    """Refuse a table of never-seen images that has none, before anything is computed.

    Raises:
        ExciseError: no such table, or a row without an image.
    """
    bare = [prompt.text for prompt in read_prompts(table) if prompt.image is None] if table is not None else []
    if bare:
        raise ExciseError(f"{table}: {bare[0]!r} has no image; give a column image, of files beside the table")


def usual_sampling(checkpoint: Checkpoint) -> Sampling:
    """Steps and guidance that a checkpoint's pipeline takes where nobody asks for others, as diffusers has them.

    Raises:
        ExciseError: a pipeline that is not supported.
    """
    kind_of(checkpoint.index)
    if checkpoint.pipeline_class == "FluxPipeline" and not checkpoint.configuration().get("guidance_embeds"):
        return TIMESTEP_DISTILLED
    known = inspect.signature(getattr(diffusers, checkpoint.pipeline_class).__call__).parameters
    true = "true_cfg_scale" in known and known["true_cfg_scale"].default > 1.0  # QwenImage's; Flux has it off
    scale: Any = known["true_cfg_scale" if true else "guidance_scale"].default
    return Sampling(steps=int(known["num_inference_steps"].default), guidance=float(scale))


def asked_sampling(checkpoint: Checkpoint, **asked: Any) -> Sampling:
    """The checkpoint's own way but for what is asked for; None leaves it.

    Raises:
        ExciseError: a pipeline that is not supported; a number that no recipe takes.
    """
    whole = usual_sampling(checkpoint).model_dump() | {key: value for key, value in asked.items() if value is not None}
    return validated(Sampling, whole)


S = TypeVar("S", bound=Section)


def validated(section: type[S], values: dict[str, Any]) -> S:
    """A section of a recipe of what was asked for by options of a command.

    Raises:
        ExciseError: a value that no recipe takes; names the option.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        said = [
            f"--{'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {fault['input']!r})" for fault in error.errors()
        ]
        raise ExciseError("\n".join(said)) from error
