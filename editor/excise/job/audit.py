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
from excise.diffusion.load import pick_device, pick_dtype, quiet_libraries
from excise.errors import ExciseError
from excise.files.scratch import scratch_folder
from excise.job.draft import draft_recipe, usual_sampling
from excise.job.preflight import check_side
from excise.job.progress import JobProgress, Say
from excise.job.runner import local_recipe
from excise.measures.replication import load_target
from excise.prompts.prompt import Prompt, read_prompts
from excise.prompts.tables import SUFFIXES
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
            f"% are wrong, if the {self.reference} reference images are like them but for that",
            f"as a set they are more like trained images than the reference: p = {found.together:.3g}",
        ]
        if found.least > count:
            sentences.append(
                f"the reference is too small to say anything of single images: at {self.rate:g} at least "
                f"{round(1 / self.rate)} reference images are needed for {count}, and there are {self.reference}"
            )
        elif found.least > 1:
            sentences.append(f"none can be called unless {found.least} are above every reference image")
        return [*sentences, *(f"skipped: {line}" for line in self.skipped)]


def audit(
    checkpoint: Path,
    images: Path,
    reference: Path,
    by: str,
    samples: int,
    rate: float,
    sampling: dict[str, Any],
    model: dict[str, Any],
    say: Say = print,
) -> Audited:
    """Ask of each image whether it was in the training set.

    Args:
        checkpoint: folder, single file or address.
        images: a folder of images, or a table with a column of images and captions.
        reference: the same of images that were never trained on, of the same kind.
        by: ``loss`` or ``magnitude``; the latter needs captions.
        samples: noised latents of each image.
        rate: of false discoveries.
        sampling: size and batch; None leaves the checkpoint's own.
        model: device and dtype.
        say: is told how far it is.

    Raises:
        ExciseError: a checkpoint that cannot be asked, no image that can be read, captions that are missing.
    """
    quiet_libraries()
    asked, null = read_images(images, by), read_images(reference, by)
    with scratch_folder() as scratch:
        draft = draft_recipe(checkpoint, scratch, model=Model(path=checkpoint, **model))
        found = Checkpoint.open(local_recipe(draft, Run(scratch))[0].model.path)
        check_parts(found)
        if found.pipeline_class not in TOKENIZERS:
            known = ", ".join(TOKENIZERS)
            raise ExciseError(f"{checkpoint}: a {found.pipeline_class} cannot be audited; known are {known}")
        chosen = {key: value for key, value in sampling.items() if value is not None}
        whole = Sampling.model_validate(usual_sampling(found).model_dump() | chosen)
        check_side(found, whole.size)
        side, skipped = found.side(whole.size), list[str]()
        ready = [_loaded(prompts, side, skipped) for prompts in (null, asked)]
        for path, kept in ((reference, ready[0]), (images, ready[1])):
            if not kept:
                raise ExciseError(f"{path}: no image that can be read; give at least one")
        device = pick_device(draft.model.device)
        pipeline = found.load(pick_dtype(draft.model.dtype, device), device)
        progress = JobProgress(say, STAGES)
        scores = [
            _scores(progress, stage, pipeline, kept, whole, samples, by)
            for stage, kept in zip(STAGES, ready, strict=True)
        ]
    names = tuple(image.name for image in ready[1])
    return Audited(
        names, tuple(scores[1]), by, rate, len(ready[0]), certify(scores[1], scores[0], rate), tuple(skipped)
    )


def read_images(path: Path, by: str) -> tuple[Prompt, ...]:
    """Images and their captions: of a table, or every file of a folder, without captions.

    Raises:
        ExciseError: no such place, a table that names no images, a folder where captions are needed.
    """
    if path.is_dir():
        if by == "magnitude":
            raise ExciseError(f"{path}: the magnitude is what a caption adds; give a table with prompt and image")
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        return tuple(Prompt("", image=file) for file in files)
    if path.suffix.lower() not in SUFFIXES:
        raise ExciseError(f"{path}: give a folder of images, or a table with columns prompt and image")
    prompts = tuple(prompt for prompt in read_prompts(path) if prompt.image)
    if not prompts:
        raise ExciseError(f"{path}: names no image; give a column image, of files beside the table")
    return prompts


def _loaded(prompts: Sequence[Prompt], side: int, skipped: list[str]) -> list[Image]:
    found = []
    for prompt in prompts:
        try:
            pixels = load_target(prompt, side, side).image
        except ExciseError as error:
            skipped.append(str(error))
        else:
            found.append(Image(str(prompt.image), prompt.text, pixels))
    return found


def _scores(
    progress: JobProgress,
    stage: str,
    pipeline: DiffusionPipeline,
    images: Sequence[Image],
    sampling: Sampling,
    samples: int,
    by: str,
) -> list[float]:
    progress.enter(stage, f" {len(images)} images, {samples} noised latents each")
    found = []
    with progress.counting("image", len(images)) as bar:
        for image in images:
            found.append(member_scores(pipeline, image, sampling, samples, seed=0)[by])
            bar.update(1)
    progress.end("done")
    return found
