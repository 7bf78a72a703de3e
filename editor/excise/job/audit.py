"""excise audit: images and a checkpoint, and which of them it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from excise.checkpoint import Checkpoint
from excise.checkpoint.parts import check_parts
from excise.detect.explain import TOKENIZERS
from excise.detect.membership import Certified, Image, certify, member_scores
from excise.detect.settings import AuditSettings
from excise.diffusion.load import pick_device, pick_dtype, quiet_libraries
from excise.errors import ExciseError
from excise.files.scratch import scratch_folder
from excise.job.draft import asked_sampling, draft_recipe
from excise.job.preflight import check_side
from excise.job.progress import JobProgress, Say
from excise.job.runner import local_recipe
from excise.mathematics.detection import least_null
from excise.measures.replication import load_target
from excise.prompts.prompt import Prompt, prompts_of
from excise.prompts.tables import SUFFIXES, read_table
from excise.recipe import Model, Sampling
from excise.run.layout import Run

STAGES = ("reference", "images")


@dataclass(frozen=True)
class Audited:
    """What was found."""

    names: tuple[str, ...]
    scores: tuple[float, ...]
    by: str
    rate: float
    reference: int
    certified: Certified
    skipped: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        found = self.certified
        rows = zip(self.names, self.scores, found.p.tolist(), found.q.tolist(), found.members.tolist(), strict=True)
        return {
            "by": self.by,
            "rate": self.rate,
            "reference": self.reference,
            "members": int(found.members.sum()),
            "together": found.together,
            "least": found.least,
            "skipped": list(self.skipped),
            "images": [{"image": name, "score": s, "p": p, "q": q, "member": member} for name, s, p, q, member in rows],
        }

    def said(self) -> list[str]:
        """In sentences."""
        found, count = self.certified, len(self.names)
        sentences = [
            f"{int(found.members.sum())} of {count} images are called trained on; of these at most {100 * self.rate:g} "
            f"% are expected to be wrong, if the {self.reference} reference images are like them but for that",
            f"that as a set they are no more like trained images than the reference has p = {found.together:.3g}",
        ]
        if found.least > count:
            sentences.append(
                f"the reference is too small to say anything of single images: at {self.rate:g} at least "
                f"{least_null(self.rate)} reference images are needed for {count}, and there are {self.reference}"
            )
        elif found.least > 1:
            sentences.append(f"none can be called unless {found.least} are above every reference image")
        return [*sentences, *(f"skipped: {line}" for line in self.skipped)]


def audit(
    checkpoint: Path, images: Path, reference: Path, settings: AuditSettings | None = None, say: Say = print
) -> Audited:
    """Ask of each image whether it was in the training set. Memory holds the pixels of one image at a time.

    Args:
        checkpoint: folder, single file or address.
        images: a folder of images, or a table with a column of images and captions.
        reference: the same of images that were never trained on, of the same kind.
        settings: how; None takes the usual ones.
        say: is told how far it is.

    Raises:
        ExciseError: a checkpoint that cannot be asked, no image that can be read, captions that are missing, or on
            one side alone.
    """
    quiet_libraries()
    settings, skipped = settings or AuditSettings(), list[str]()
    null, asked = (read_images(path, settings.by, skipped) for path in (reference, images))
    for path, other in ((reference, images), (images, reference)):
        if path.is_dir() and not other.is_dir():
            raise ExciseError(
                f"{path}: has no captions, and {other} has: a caption lowers the loss of any image that it fits, "
                "trained on or not; give both as folders, or both as tables"
            )
    with scratch_folder() as scratch:
        draft = draft_recipe(checkpoint, scratch, model=Model(path=checkpoint, **settings.model))
        found = Checkpoint.open(local_recipe(draft, Run(scratch))[0].model.path)
        check_parts(found)
        if found.pipeline_class not in TOKENIZERS:
            known = ", ".join(TOKENIZERS)
            raise ExciseError(f"{checkpoint}: a {found.pipeline_class} cannot be audited; known are {known}")
        whole = asked_sampling(found, size=settings.size, batch=settings.batch)
        check_side(found, whole.size)
        side = found.side(whole.size)
        ready = [_readable(prompts, side, skipped) for prompts in (null, asked)]
        for path, kept in zip((reference, images), ready, strict=True):
            if not kept:
                raise ExciseError(f"{path}: no image that can be read; give at least one")
        device = pick_device(draft.model.device)
        pipeline = found.load(pick_dtype(draft.model.dtype, device), device)
        progress = JobProgress(say, STAGES)
        scores = [
            _scores(progress, stage, pipeline, kept, side, whole, settings)
            for stage, kept in zip(STAGES, ready, strict=True)
        ]
    return Audited(
        tuple(str(prompt.image) for prompt in ready[1]),
        tuple(scores[1]),
        settings.by,
        settings.rate,
        len(ready[0]),
        certify(scores[1], scores[0], settings.rate),
        tuple(skipped),
    )


def read_images(path: Path, by: str, skipped: list[str]) -> tuple[Prompt, ...]:
    """Images and their captions: of a table, or every file of a folder, without captions.

    Args:
        path: of either.
        by: ``loss`` or ``magnitude``.
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


def _scores(
    progress: JobProgress,
    stage: str,
    pipeline: DiffusionPipeline,
    prompts: Sequence[Prompt],
    side: int,
    sampling: Sampling,
    settings: AuditSettings,
) -> list[float]:
    progress.enter(stage, f" {len(prompts)} images, {settings.samples} noised latents each")
    found = []
    with progress.counting("image", len(prompts)) as bar:
        for prompt in prompts:
            image = Image(str(prompt.image), prompt.text, load_target(prompt, side, side).image)
            found.append(member_scores(pipeline, image, sampling, settings.samples, seed=0)[settings.by])
            bar.update(1)
    progress.end("done")
    return found
