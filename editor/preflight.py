"""What would fail after long work is refused before it."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from editor.errors import NO_ROOM, ExciseError
from editor.prompts import PromptSets
from editor.recipe import Recipe, Validate

NO_WRITING = (errno.EACCES, errno.EPERM, errno.EROFS)


def quiet_libraries() -> None:
    """Keep the libraries' loading bars and hints out of the job's own progress; their errors stay."""
    from diffusers.utils import logging as diffusers_logging  # here, not above: they import torch, which takes seconds
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def check_inputs(recipe: Recipe, sets: PromptSets) -> None:
    """Refuse unsafe or broken checkpoints, missing files, and settings that cannot work on this checkpoint.

    Raises:
        ExciseError: names the file, or the recipe's key.
    """
    settings = recipe.validate_
    for key, path in (("validate.judge", settings.judge), ("validate.sscd", settings.sscd)):
        if path and not path.exists():
            raise ExciseError(f"{key}: {path} is not there; correct the path or leave the key out")
    for file in (*recipe.release.license_files, *filter(None, [recipe.release.key])):
        if not file.is_file():
            raise ExciseError(f"release: {file} is not there; correct the path")
    from editor.diffusion.checkpoint import check_against_config, check_finite, tensor_names
    from editor.diffusion.load import check_folder
    from editor.diffusion.sites import sites_of
    from editor.stages.locate import check_settings

    for folder in filter(None, (recipe.model.path, recipe.model.twin)):
        check_folder(folder)
        check_against_config(folder)
        check_finite(folder, tensor_names(folder))
    check_settings(recipe, sets, sites_of(recipe.model.path, recipe.collect.sites))
    check_instruments(settings, sets)


def length_notes(recipe: Recipe, sets: PromptSets) -> list[str]:
    """A sentence for each set and tokenizer of which prompts are cut short."""
    from editor.diffusion.lengths import cut_short

    groups = {
        "memorized": [*(prompt for group in sets.located for prompt in group), *sets.held_out],
        "ordinary": [*(prompt for group in sets.control for prompt in group), *sets.contrast],
        "judged": list(sets.judged),
        "never_seen": list(sets.never_seen),
    }
    return [
        f"prompts.{key}: {count} prompts are longer than the checkpoint takes of its {name}'s output, and cut short"
        for key, prompts in groups.items()
        for name, count in cut_short(recipe.model.path, [prompt.text for prompt in prompts]).items()
    ]


def check_instruments(settings: Validate, sets: PromptSets) -> None:
    """Load once what will measure, hours later: judge, SSCD model, and every training image and mask.

    Raises:
        ExciseError: one that cannot be used, or a prompt of an unknown kind.
    """
    import torch

    from editor.attacks.arms import attacked_sets
    from editor.measures.agreement import load_judge
    from editor.measures.replication import load_target
    from editor.measures.sscd import load_sscd

    if settings.judge:
        load_judge(settings.judge)
    if settings.sscd:
        load_sscd(settings.sscd, torch.device("cpu"))
    for key, prompts in attacked_sets(sets).items():
        for prompt in prompts if key != "judged" else ():
            load_target(prompt, 64, 64)


def check_space(recipe: Recipe, sets: PromptSets, folder: Path) -> None:
    """Refuse a disk without room for the edited checkpoint, twice while one replaces another, statistics and images.

    Raises:
        ExciseError: says how much is free and how much may be needed.
    """
    from editor.estimate import estimate

    need, free = estimate(recipe, sets).disk, shutil.disk_usage(folder).free
    if free < need:
        raise ExciseError(
            f"{folder}: {free / 2**20:.0f} MiB free on its disk, {need / 2**20:.0f} MiB needed; "
            "free some space or choose another disk with --out"
        )


@contextmanager
def writing_explained(folder: Path, work: str) -> Iterator[None]:
    """Turn a full disk and a forbidden write into an error that says so; everything else passes unchanged.

    Raises:
        ExciseError: names ``work``, the place, and what to do.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM + NO_WRITING:
            raise
        raise ExciseError(_explain(error.errno, str(error.filename or folder), work, str(error.strerror))) from error
    except SafetensorError as error:  # the library passes the system's error on as text only
        found = re.search(r"\(os error (\d+)\)", str(error))
        if not found or int(found[1]) not in NO_ROOM + NO_WRITING:
            raise
        raise ExciseError(_explain(int(found[1]), str(folder), work, str(error))) from error


def _explain(number: int | None, place: str, work: str, message: str) -> str:
    cure = "free some space" if number in NO_ROOM else "make it writable"
    return f"{place}: {work} could not be written ({message}); {cure}, or choose another folder with --out"
