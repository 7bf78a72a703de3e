"""What would fail after long work is refused before it."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from excise.checkpoint.lengths import cut_short
from excise.diffusion.load import quiet_libraries
from excise.errors import NO_ROOM, ExciseError
from excise.job.estimate import estimate
from excise.measures.judge import load_judge
from excise.measures.replication import load_target
from excise.measures.sscd import load_sscd
from excise.prompts.questions import JUDGED, questions_of
from excise.prompts.sets import PromptSets
from excise.recipe import Validate
from excise.run.layout import Run
from excise.stages.context import Context
from excise.stages.locate import check_settings

NO_WRITING = (errno.EACCES, errno.EPERM, errno.EROFS)


def check_inputs(context: Context) -> None:
    """Refuse unsafe or broken checkpoints, missing files, and settings that cannot work on this checkpoint.

    Raises:
        ExciseError: names the file, or the recipe's key.
    """
    recipe = context.recipe
    settings = recipe.validate_
    for key, path in (("validate.judge", settings.judge), ("validate.sscd", settings.sscd)):
        if path and not path.exists():
            raise ExciseError(f"{key}: {path} is not there; correct the path or leave the key out")
    for file in (*recipe.release.license_files, *filter(None, [recipe.release.key])):
        if not file.is_file():
            raise ExciseError(f"release: {file} is not there; correct the path")
    quiet_libraries()
    for checkpoint in filter(None, (context.base, context.twin)):
        checkpoint.check_shapes()
        checkpoint.check_finite()
    check_settings(recipe, context.sets, context.base.sites(recipe.collect.sites))
    check_instruments(settings, context.sets)


def length_notes(context: Context) -> list[str]:
    """A sentence for each set and tokenizer of which prompts are cut short."""
    sets = context.sets
    groups = {
        "memorized": [*(prompt for group in sets.located for prompt in group), *sets.held_out],
        "ordinary": [*(prompt for group in sets.control for prompt in group), *sets.contrast],
        "judged": list(sets.judged),
        "never_seen": list(sets.never_seen),
    }
    return [
        f"prompts.{key}: {count} prompts are longer than the checkpoint takes of its {name}'s output, and cut short"
        for key, prompts in groups.items()
        for name, count in cut_short(context.base, [prompt.text for prompt in prompts]).items()
    ]


def check_instruments(settings: Validate, sets: PromptSets) -> None:
    """Load once what will measure, hours later: judge, SSCD model, and every training image and mask.

    Raises:
        ExciseError: one that cannot be used, or a prompt of an unknown kind.
    """
    if settings.judge:
        load_judge(settings.judge)
    if settings.sscd:
        load_sscd(settings.sscd, torch.device("cpu"))
    for question, prompts in questions_of(sets).items():
        for prompt in prompts if question != JUDGED else ():
            load_target(prompt, 64, 64)


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
