"""excise audit: images and a checkpoint, and which of them it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from excise.checkpoint import Checkpoint
from excise.checkpoint.parts import check_parts
from excise.detect.audited import Audited
from excise.detect.explain import TOKENIZERS
from excise.detect.inverted import Inverted
from excise.detect.settings import AuditSettings
from excise.diffusion.load import pick_device, pick_dtype, quiet_libraries
from excise.diffusion.text_inputs import TEXT_INPUTS
from excise.diffusion.tokens import ENCODED
from excise.errors import ExciseError
from excise.files.hashing import hash_json
from excise.files.scratch import scratch_folder
from excise.job.chunks import Asked
from excise.job.draft import asked_sampling, draft_recipe, validated
from excise.job.inversion import Inversions, refuse_other_files
from excise.job.membership import Memberships
from excise.job.preflight import check_side, writing_explained
from excise.job.progress import JobProgress, Say
from excise.job.runner import local_recipe
from excise.measures.membership import certify
from excise.measures.replication import load_target
from excise.prompts.prompt import Prompt, prompts_of
from excise.prompts.tables import SUFFIXES, read_table
from excise.recipe import Model, Validate
from excise.report.audited import write_audit
from excise.run.layout import Run
from excise.run.lock import locked

STAGES = ("reference", "images")
KNOWN: dict[str, Mapping[str, Any]] = {
    "familiarity": TEXT_INPUTS,
    "loss": TEXT_INPUTS,
    "magnitude": TOKENIZERS,
    "inversion": ENCODED,
}
"""Pipelines that can be asked so."""


def audit(
    checkpoint: Path,
    images: Path,
    reference: Path | None = None,
    settings: AuditSettings | None = None,
    say: Say = print,
    out: Path | None = None,
    fresh: bool = False,
) -> Audited:
    """Ask of each image whether it was in the training set, or whether any input draws it.

    Memory holds the pixels of one image at a time; where something is searched for, of those that are so together.

    Args:
        checkpoint: folder, single file or address.
        images: a folder of images, or a table with a column of images and captions.
        reference: the same of images that were never trained on, of the same kind; an inversion can do without.
        settings: how; None takes the usual ones.
        say: is told how far it is.
        out: folder of table, JSON and pictures, and of what is to be gone on with; None leaves nothing.
        fresh: ask anew what was asked there before.

    Raises:
        ExciseError: a checkpoint that cannot be asked, no image that can be read, captions that are missing, or on
            one side alone; a number that cannot be; a folder of something else.
    """
    quiet_libraries()
    settings, skipped = settings or AuditSettings(), list[str]()
    validated(Validate, {"threshold": settings.threshold, "ssim": settings.ssim, "tiles": settings.tiles})
    paths = ([] if reference is None else [reference]) + [images]
    if reference is None and settings.by != "inversion":
        raise ExciseError("--reference: membership is told by images that were never trained on; give some")
    asked = [read_images(path, settings.by, skipped) for path in paths]
    if settings.by != "inversion" and len({path.is_dir() for path in paths}) > 1:
        bare, other = sorted(paths, key=lambda path: not path.is_dir())
        raise ExciseError(
            f"{bare}: has no captions, and {other} has: a caption lowers the loss of any image that it fits, "
            "trained on or not; give both as folders, or both as tables"
        )
    with scratch_folder() as scratch, ExitStack() as stack:
        run = Run(scratch if out is None else out)
        if out is not None:
            refuse_other_files(out)
            stack.enter_context(locked(run))
            stack.enter_context(writing_explained(run, "the audit"))
        draft = draft_recipe(checkpoint, scratch, model=Model(path=checkpoint, **settings.model))
        found = Checkpoint.open(local_recipe(draft, Run(scratch))[0].model.path)
        check_parts(found)
        known = KNOWN[settings.by]
        if found.pipeline_class not in known:
            cannot = (
                "cannot be searched for inputs" if settings.by == "inversion" else f"cannot be audited by {settings.by}"
            )
            raise ExciseError(f"{checkpoint}: a {found.pipeline_class} {cannot}; known are {', '.join(known)}")
        whole = asked_sampling(found, size=settings.size, batch=settings.batch)
        check_side(found, whole.size)
        side = found.side(whole.size)
        ready = [_readable(prompts, side, skipped) for prompts in asked]
        for path, kept in zip(paths, ready, strict=True):
            if not kept:
                raise ExciseError(f"{path}: no image that can be read; give at least one")
        device = pick_device(draft.model.device)
        pipeline = found.load(pick_dtype(draft.model.dtype, device), device)
        stages = STAGES[-len(paths) :]
        progress = JobProgress(say, stages)
        sampling, inverted, steps = whole.model_copy(update={"size": side}), list[list[Inverted]](), 0
        own = Asked(pipeline, sampling, settings, run, hash_json(found.hashes()), fresh)
        if settings.by == "inversion":
            searches = Inversions(own)
            inverted = [searches.all(progress, stage, kept) for stage, kept in zip(stages, ready, strict=True)]
            scores = [[-one.divergence for one in part] for part in inverted]
            searches.chunks.forget_others()
        else:
            asking = Memberships(own, captions=not images.is_dir())
            scores = [asking.all(progress, stage, kept) for stage, kept in zip(stages, ready, strict=True)]
            steps = asking.steps
            asking.chunks.forget_others()
        audited = Audited(
            tuple(str(prompt.image) for prompt in ready[-1]),
            tuple(scores[-1]),
            settings,
            len(ready[0]) if reference is not None else 0,
            certify(scores[1], scores[0], settings.rate) if reference is not None else None,
            tuple(skipped),
            tuple(inverted[-1]) if inverted else (),
            tuple(inverted[0]) if inverted and reference is not None else (),
            steps,
        )
        if out is not None:
            write_audit(
                out, audited, [load_target(prompt, side, side).image for prompt in ready[-1]] if inverted else []
            )
    return audited


def read_images(path: Path, by: str, skipped: list[str]) -> tuple[Prompt, ...]:
    """Images and their captions: of a table, or every file of a folder, without captions.

    Args:
        path: of either.
        by: what an image's likeness to trained ones is told by.
        skipped: is told what is left out.

    Raises:
        ExciseError: no such place, a table that names no images, a folder where captions are needed.
    """
    if path.is_dir():
        if by == "magnitude":
            raise ExciseError(f"{path}: the magnitude is what a caption adds; give a table with prompt and image")
        within = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        skipped += [f"{file}: a folder, which is not looked into" for file in within if file.is_dir()]
        return tuple(Prompt("", image=file) for file in within if file.is_file())
    if path.suffix.lower() not in SUFFIXES:
        raise ExciseError(f"{path}: give a folder of images, or a table with columns prompt and image")
    table = read_table(path, memorized=False)
    prompts = prompts_of(path, table)
    pictured = tuple(prompt for prompt in prompts if prompt.image)
    if not pictured:
        raise ExciseError(f"{path}: names no image; give a column image, of files beside the table")
    bare = len(prompts) - len(pictured)
    skipped += [f"{path}: {table.empty} rows have no caption"] if table.empty else []
    skipped += [f"{path}: {bare} rows name no image"] if bare else []
    return pictured


def _readable(prompts: Sequence[Prompt], side: int, skipped: list[str]) -> list[Prompt]:
    """Those whose image can be read, before anything is computed; their pixels are read again when it is their turn."""
    found = []
    for prompt in prompts:
        try:
            load_target(prompt, side, side)
        except ExciseError as error:
            skipped.append(str(error))
        else:
            found.append(prompt)
    return found
