"""Measuring every model's images in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from excise.errors import ExciseError
from excise.measures.agreement import judge_images
from excise.measures.replication import Rule, Target, load_target
from excise.prompts.prompt import Prompt
from excise.prompts.questions import JUDGED, NEVER_SEEN, UNMEASURED, Question
from excise.run.images import image_size, read_images, stored
from excise.trial.blocks import REPLAY
from excise.trial.subjects import BASE, Subject
from excise.verdict import estimates
from excise.verdict.models import FalsePositives, Measured, ModelMeasures, ModelResult


@dataclass(frozen=True)
class Instruments:
    """What measures; None for what the recipe does not name."""

    rule: Rule
    judge: Path | None
    """Folder of the judge."""
    sscd: nn.Module | None
    device: torch.device
    """Where ``sscd`` is."""


@dataclass(frozen=True)
class Trial:
    """What was asked, and where the answers are."""

    asked: Mapping[Question, tuple[Prompt, ...]]
    images: Path
    """Folder of images, as `excise.run.images` lays it out."""
    instruments: Instruments
    targets: Mapping[Question, list[Target]]
    """Training images of every question that has them."""
    clusters: Mapping[Question, list[str]]

    @classmethod
    def of(
        cls,
        asked: Mapping[Question, tuple[Prompt, ...]],
        images: Path,
        instruments: Instruments,
        subjects: Sequence[Subject],
    ) -> Trial:
        """Load the training images at the size of what was drawn.

        Raises:
            ExciseError: a training image or mask that cannot be used; models that draw at different sizes.
        """
        firsts = {subject.name: subject.asked(asked)[0] for subject in subjects}
        sizes = {name: image_size(stored(images, REPLAY, name, first)) for name, first in firsts.items()}
        for name, size in sizes.items():
            if size != sizes[BASE]:
                raise ExciseError(f"model.{name}: images of {size} pixels, of {sizes[BASE]} by the base; give its twin")
        targets = {
            question: [load_target(prompt, *sizes[BASE]) for prompt in prompts]
            for question, prompts in asked.items()
            if question not in UNMEASURED
        }
        clusters = {question: estimates.clusters_of(prompts) for question, prompts in asked.items()}
        return cls(asked, images, instruments, targets, clusters)

    def drawn(self, name: str, question: Question) -> Iterator[Tensor]:
        """What a model drew for one question, prompt by prompt."""
        return read_images(stored(self.images, REPLAY, name, question))

    def measure_images(self, subject: Subject) -> ModelMeasures:
        """Measures of every image of one model."""
        tools = self.instruments
        agrees = None
        if tools.judge is not None:
            pictures = torch.stack(list(self.drawn(subject.name, JUDGED)))
            told = judge_images(tools.judge, pictures, [prompt.text for prompt in self.asked[JUDGED]])
            agrees = tuple(None if row is None else tuple(row) for row in told)
        return ModelMeasures(sets=self._measured(subject), agrees=agrees)

    def _measured(self, subject: Subject) -> dict[str, Measured]:
        tools = self.instruments
        return {
            question.key: estimates.measure_images(
                self.drawn(subject.name, question), self.targets[question], tools.rule, tools.sscd, tools.device
            )
            for question in subject.asked(list(self.targets))
        }

    def result(
        self, subject: Subject, measured: ModelMeasures, base: ModelMeasures, weights_changed: int | None
    ) -> ModelResult:
        """One model's numbers.

        Args:
            subject: the model.
            measured: its images.
            base: the base's.
            weights_changed: by its edit; None for a checkpoint that is not an edited base.
        """
        name, clusters = subject.name, self.clusters[JUDGED]
        agreement = drift = None
        if measured.agrees is not None:
            before = None if name == BASE else base.agrees
            agreement = estimates.caption_agreement(measured.agrees, before, clusters)
        if name != BASE:
            drift = estimates.drift(self.drawn(name, JUDGED), self.drawn(BASE, JUDGED), clusters)
        sets = {
            question.key: estimates.replication(
                measured.sets[question.key],
                self.instruments.rule,
                self.clusters[question],
                estimates.seed_diversity(self.drawn(name, question), self.clusters[question]),
            )
            for question in subject.asked(list(self.targets))
        }
        return ModelResult(
            label=subject.label,
            colour=subject.colour,
            checkpoint=str(subject.checkpoint),
            weights_changed=weights_changed,
            sets=sets,
            agreement=agreement,
            drift=drift,
            seed_diversity=estimates.seed_diversity(self.drawn(name, JUDGED), clusters),
        )

    def false_positives(self) -> FalsePositives | None:
        """How often the rule errs, on the base's images for never-seen prompts; None without such prompts."""
        if NEVER_SEEN not in self.targets:
            return None
        return estimates.false_positives(
            self.drawn(BASE, NEVER_SEEN),
            self.targets[NEVER_SEEN],
            self.instruments.rule,
            self.clusters[NEVER_SEEN],
        )
