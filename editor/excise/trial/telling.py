"""The audit of a trial: how much each model tells images as if it had been trained on them, without their captions.

Verbatim memorized images, and never-seen ones that they are held against, are asked about of base, edited model and
twin. What the model is told is fitted to each image first (`excise.attacks.fitting`), on seeds of its own.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from excise.attacks.fitting import fitted
from excise.files.writing import write_tensors
from excise.measures.membership import Image, member_score
from excise.measures.replication import load_target
from excise.prompts.prompt import Prompt
from excise.prompts.questions import NEVER_SEEN, Kind, Question
from excise.recipe import Audit, Sampling
from excise.recipe.attacks import AUDIT
from excise.recipe.suite import Asking
from excise.run.images import SUFFIX, write_membership
from excise.run.progress import Bar
from excise.trial.rounds import spread
from excise.trial.subjects import BASE, EDITED, TWIN, Subject

AUDITED = (BASE, EDITED, TWIN)
"""Models that are audited; random edits are not."""


@dataclass(frozen=True)
class Telling:
    """Images that one model is asked about together: one partial result."""

    subject: Subject
    question: Question
    number: int
    prompts: tuple[Prompt, ...]
    settings: Audit
    name = AUDIT

    def stored(self, folder: Path) -> Path:
        """Where the scores are."""
        return folder / f"{AUDIT}.{self.subject.name}.{self.question.key}.{self.number:05d}{SUFFIX}"

    def calls(self, _sampling: Sampling) -> int:
        """Denoiser calls of one image each that it takes."""
        return len(self.prompts) * self.settings.calls()

    def make(self, sampling: Sampling, pipeline: DiffusionPipeline, side: int, partial: Path, bar: Bar) -> None:
        """Ask the model, and keep what it says.

        Raises:
            ExciseError: an image that cannot be read; a score that is not finite.
        """
        started = time.monotonic()
        images = [Image(str(one.image), "", load_target(one, side, side).image) for one in self.prompts]
        told = fitted(pipeline, images, sampling, self.settings.steps)
        scores = [
            member_score(pipeline, image, sampling, self.settings.samples, 0, "familiarity", text)
            for image, text in zip(images, told, strict=True)
        ]
        bar.update(self.calls(sampling))
        found = {"scores": scores, "seconds": time.monotonic() - started}
        write_tensors(
            self.stored(partial), {key: torch.tensor(value, dtype=torch.float64) for key, value in found.items()}
        )


def tellings_of(
    asking: Asking, asked: Mapping[Question, tuple[Prompt, ...]], subjects: Sequence[Subject]
) -> list[Telling]:
    """All that is asked, in parts; nothing without an audit."""
    settings, found = asking.attack.audit, list[Telling]()
    if settings is None:
        return found
    for subject in (subject for subject in subjects if subject.name in AUDITED):
        for question in audited(asked):
            chosen = chosen_of(settings, question, asked[question])
            parts = [chosen[at : at + settings.chunk] for at in range(0, len(chosen), settings.chunk)]
            found += [Telling(subject, question, number, part, settings) for number, part in enumerate(parts)]
    return found


def audited(asked: Iterable[Question]) -> list[Question]:
    """The questions whose images are asked about: of templates, only a part would be known."""
    return [one for one in asked if one == NEVER_SEEN or (one.memorized and one.kind == Kind.VERBATIM)]


def chosen_of(settings: Audit, question: Question, prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    """The prompts of a question whose images are asked about."""
    count = None if question == NEVER_SEEN else settings.images
    return tuple(prompts[place] for place in spread(prompts, count))


def join_tellings(tellings: Sequence[Telling], partial: Path, folder: Path) -> dict[str, float]:
    """Join finished parts in ``folder``; the seconds that each model took."""
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    seconds: dict[str, float] = defaultdict(float)
    for one in tellings:
        found = load_file(one.stored(partial))
        scores[one.subject.name][one.question.key] += found["scores"].tolist()
        seconds[one.subject.name] += float(found["seconds"])
    if scores:
        write_membership(folder, scores)
    return dict(seconds)
