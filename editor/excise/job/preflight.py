"""What would fail after long work is refused before it."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from excise.checkpoint import Checkpoint
from excise.checkpoint.parts import check_parts, difference
from excise.diffusion.load import quiet_libraries
from excise.errors import NO_ROOM, ExciseError
from excise.job.attackable import check_attacks
from excise.job.estimate import estimate
from excise.job.method import check_method
from excise.measures.judge import load_judge
from excise.measures.replication import LEAST_SIDE, load_target
from excise.measures.sscd import load_sscd
from excise.prompts.questions import UNMEASURED, questions_of
from excise.prompts.sets import PromptSets
from excise.recipe import Validate
from excise.recipe.suite import Asking
from excise.run.layout import Run
from excise.stages.collect import check_calls
from excise.stages.context import Context
from excise.trial.blocks import Asked

NO_WRITING = (errno.EACCES, errno.EPERM, errno.EROFS)


def check_inputs(context: Context, weights: bool = True) -> None:
    """Refuse unsafe or broken checkpoints, missing files, and settings that cannot work on this checkpoint.

    What a job would fail by, a plan finds too: both call this.

    Args:
        context: of the job.
        weights: read all weights, for numbers that are none. False where they are not here yet.

    Raises:
        ExciseError: names the file, or the recipe's key.
    """
    quiet_libraries()
    for check in CHECKS:
        check(context)
    for _, checkpoint in checkpoints_of(context) if weights else ():
        checkpoint.check_finite()


def checkpoints_of(context: Context) -> list[tuple[str, Checkpoint]]:
    """The checkpoints of a job, by their keys."""
    return [("model.path", context.base), *([("model.twin", context.twin)] if context.twin else [])]


def _check_files(context: Context) -> None:
    settings, release = context.recipe.validate_, context.recipe.release
    for key, path in (("validate.judge", settings.judge), ("validate.sscd", settings.sscd)):
        if path and not path.exists():
            raise ExciseError(f"{key}: {path} is not there; correct the path or leave the key out")
    for file in (*release.license_files, *filter(None, [release.key])):
        if not file.is_file():
            raise ExciseError(f"release: {file} is not there; correct the path")


def _check_checkpoints(context: Context) -> None:
    for _, checkpoint in checkpoints_of(context):
        check_parts(checkpoint)
        checkpoint.check_shapes()


def _check_twin(context: Context) -> None:
    if context.twin and (found := difference(context.base, context.twin)):
        raise ExciseError(
            f"model.twin: {context.recipe.model.twin}: {found}; a twin differs from the base in its training data "
            "alone: give such a one, or leave the key out"
        )


def _check_sampling(context: Context) -> None:
    recipe, size = context.recipe, context.recipe.sampling.size
    sides = {key: checkpoint.side(size) for key, checkpoint in checkpoints_of(context)}
    if len(set(sides.values())) > 1:
        raise ExciseError(f"model.twin: draws {sides['model.twin']} pixels a side, the base {sides['model.path']}")
    check_compared(context.base, recipe)
    check_calls(recipe, context.base.scheduler())


def check_compared(checkpoint: Checkpoint, asking: Asking) -> None:
    """Refuse a size of images that the checkpoint cannot draw, or that cannot be compared.

    Raises:
        ExciseError: says which sizes can be.
    """
    check_side(checkpoint, asking.sampling.size)
    side, tiles = checkpoint.side(asking.sampling.size), asking.validate_.tiles
    if side < max(LEAST_SIDE, tiles):
        raise ExciseError(
            f"sampling.size: {side} pixels; images are compared on {tiles} tiles a side "
            f"(validate.tiles) and on windows of {LEAST_SIDE} pixels: draw larger images, or lower validate.tiles"
        )


def check_side(checkpoint: Checkpoint, size: int | None) -> None:
    """Refuse a size of images that a checkpoint does not draw.

    Raises:
        ExciseError: names the sizes next to it.
    """
    multiple, side = checkpoint.side_multiple(), checkpoint.side(size)
    if side % multiple:
        near = " or ".join(str(n * multiple) for n in (side // multiple, side // multiple + 1) if n)
        whose = f"this checkpoint's images is a multiple of {multiple} ({checkpoint.pipeline_class})"
        raise ExciseError(f"sampling.size: {side} pixels; a side of {whose}: use {near}")


def _check_instruments(context: Context) -> None:
    check_instruments(context.recipe.validate_, context.sets, context.base.side(context.recipe.sampling.size))


def _check_attacks(context: Context) -> None:
    check_attacks(context.recipe, context.base, questions_of(context.sets))


CHECKS: tuple[Callable[[Context], None], ...] = (
    _check_files,
    _check_checkpoints,
    _check_twin,
    _check_sampling,
    check_method,
    _check_instruments,
    _check_attacks,
)
"""What plan and run both look at, the quick before the slow; weights come last."""


def check_instruments(settings: Validate, sets: PromptSets, side: int) -> None:
    """Load once what will measure, hours later: judge, SSCD model, and every training image and mask.

    Raises:
        ExciseError: one that cannot be used, or a prompt of an unknown kind.
    """
    if settings.judge:
        load_judge(settings.judge)
    if settings.sscd:
        load_sscd(settings.sscd, torch.device("cpu"))
    check_pictures(questions_of(sets), side)


def check_pictures(asked: Asked, side: int) -> None:
    """Load every training image and mask once.

    Raises:
        ExciseError: one that cannot be used.
    """
    for question, prompts in asked.items():
        for prompt in prompts if question not in UNMEASURED else ():
            load_target(prompt, side, side)


def check_space(context: Context) -> None:
    """Refuse a disk without room for the edited checkpoint, twice while one replaces another, statistics and images.

    Raises:
        ExciseError: says how much is free and how much may be needed.
    """
    folder = context.run.folder
    need, free = estimate(context).disk, shutil.disk_usage(folder).free
    if free < need:
        raise ExciseError(
            f"{folder}: {free / 2**20:.0f} MiB free on its disk, {need / 2**20:.0f} MiB needed; "
            "free some space or choose another disk with --out"
        )


@contextmanager
def writing_explained(run: Run, work: str) -> Iterator[None]:
    """Turn a full disk and a forbidden write into an error that says so; everything else passes unchanged.

    Raises:
        ExciseError: names ``work``, the place, and what to do.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM + NO_WRITING:
            raise
        raise ExciseError(
            _explain(error.errno, str(error.filename or run.folder), work, str(error.strerror))
        ) from error
    except SafetensorError as error:  # the library passes the system's error on as text only
        found = re.search(r"\(os error (\d+)\)", str(error))
        if not found or int(found[1]) not in NO_ROOM + NO_WRITING:
            raise
        raise ExciseError(_explain(int(found[1]), str(run.folder), work, str(error))) from error


def _explain(number: int | None, place: str, work: str, message: str) -> str:
    cure = "free some space" if number in NO_ROOM else "make it writable"
    return f"{place}: {work} could not be written ({message}); {cure}, or choose another folder with --out"
