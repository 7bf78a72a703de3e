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
from excise.prompts.questions import CONCEPTS, JUDGED, NEIGHBOURS, NEVER_SEEN, UNMEASURED, USEFULNESS, Question
from excise.run.images import image_size, read_images, read_membership, stored
from excise.trial.rounds import AIMED, REPLAY, REPLAYED, Round
from excise.trial.subjects import BASE, Subject
from excise.verdict import estimates
from excise.verdict.measured import Agrees, Measured, ModelMeasures
from excise.verdict.models import Agreement, FalsePositives, Membership, ModelResult, Replication, Usefulness


@dataclass(frozen=True)
class Instruments:
    """What measures; None for what the recipe does not name."""

    rule: Rule
    judge: Path | None
    """Folder of the judge."""
    sscd: nn.Module | None
    device: torch.device
    """Where ``sscd`` is."""
    concept: str = ""
    """Words that name the concept which is to be forgotten; of images that show it the judge is asked nothing else."""


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
    others: tuple[Round, ...] = ()
    """Attacks beside replay."""
    rate: float = 0.05
    """Of false discoveries, at which an audit calls images."""

    @classmethod
    def of(
        cls,
        asked: Mapping[Question, tuple[Prompt, ...]],
        images: Path,
        instruments: Instruments,
        subjects: Sequence[Subject],
        rounds: Sequence[Round] = (),
        rate: float = 0.05,
    ) -> Trial:
        """Load the training images at the size of what was drawn.

        Raises:
            ExciseError: a training image or mask that cannot be used; models that draw at different sizes.
        """
        firsts = {subject.name: subject.asked(asked)[0] for subject in subjects}
        sizes = {name: image_size(stored(images, REPLAY, name, first)) for name, first in firsts.items()}
        first, whole = next(iter(sizes.items()))
        for name, size in sizes.items():
            if size != whole:
                raise ExciseError(f"model.{name}: images of {size} pixels, of {whole} by the {first}; give its twin")
        targets = {
            question: [load_target(prompt, *whole) for prompt in prompts]
            for question, prompts in asked.items()
            if question not in UNMEASURED
        }
        clusters = {question: estimates.clusters_of(prompts) for question, prompts in asked.items()}
        others = tuple(found for found in rounds if found.attack != REPLAY)
        return cls(asked, images, instruments, targets, clusters, others, rate)

    def drawn(self, name: str, question: Question, attack: str = REPLAY) -> Iterator[Tensor]:
        """What a model drew for one question, prompt by prompt."""
        return read_images(stored(self.images, attack, name, question))

    def measure_images(self, subject: Subject) -> ModelMeasures:
        """Measures of every image of one model."""
        agrees, beside = (self._agrees(subject, question) for question in USEFULNESS)
        concept = {asked.key: self._agrees(subject, asked, self.instruments.concept) for asked in CONCEPTS}
        others = {key: self._measured(subject, found, key) for found in self.others for key in found.keys}
        return ModelMeasures(
            sets=self._measured(subject),
            other_attacks=others,
            agrees=agrees,
            neighbours_agree=beside,
            concept_agrees={key: found for key, found in concept.items() if found is not None},
            concept_searched={
                key: found for one in self.others for key in one.keys if (found := self._searched(subject, one, key))
            },
        )

    def _searched(self, subject: Subject, one: Round, key: str) -> dict[str, Agrees]:
        """Whether the judge reads the concept off what a search drew, by question: of prompts whose picture by the
        base, which was searched for, shows it too."""
        found = {}
        for asked in one.questions(subject, [asked for asked in CONCEPTS if asked in self.asked]):
            said, chosen = self.instruments.concept, one.places(self.asked[asked])
            aims = self._read(self.drawn(BASE, asked, AIMED.name), said)
            drawn = self._read(self.drawn(subject.name, asked, key), said)
            if aims is None or drawn is None:
                continue
            shown = [row is not None and row[0] for row in aims]
            found[asked.key] = tuple(row if shown[place] else None for row, place in zip(drawn, chosen, strict=True))
        return found

    def _agrees(self, subject: Subject, question: Question, concept: str | None = None) -> Agrees | None:
        """Whether the judge reads off each image what its caption says; or the concept, where one is given."""
        if question not in self.asked:
            return None
        captions = [prompt.text for prompt in self.asked[question]] if concept is None else concept
        return self._read(self.drawn(subject.name, question), captions)

    def _read(self, drawn: Iterator[Tensor], said: Sequence[str] | str) -> Agrees | None:
        """Whether the judge reads off images what is said of each prompt, or of all; None without a judge."""
        if self.instruments.judge is None:
            return None
        pictures = torch.stack(list(drawn))
        told = judge_images(self.instruments.judge, pictures, [said] * len(pictures) if isinstance(said, str) else said)
        return tuple(None if row is None else tuple(row) for row in told)

    def _measured(self, subject: Subject, found: Round = REPLAYED, key: str = REPLAY) -> dict[str, Measured]:
        tools, measured = self.instruments, {}
        for question in found.questions(subject, list(self.targets)):
            chosen = found.places(self.asked[question])
            measured[question.key] = estimates.measure_images(
                self.drawn(subject.name, question, key),
                [self.targets[question][place] for place in chosen],
                [self.clusters[question][place] for place in chosen],
                tools.rule,
                tools.sscd,
                tools.device,
            )
        return measured

    def result(
        self, subject: Subject, measured: ModelMeasures, base: ModelMeasures | None, weights_changed: int | None
    ) -> ModelResult:
        """One model's numbers.

        Args:
            subject: the model.
            measured: its images.
            base: the base's; None where the base was not asked.
            weights_changed: by its edit; None for a checkpoint that is not an edited base.
        """
        name = subject.name
        ordinary, neighbours = Usefulness(agreement=None, drift=None), None
        if base is not None and JUDGED in self.asked:
            ordinary = self._usefulness(name, JUDGED, measured.agrees, base.agrees)
        if base is not None and NEIGHBOURS in self.asked:
            neighbours = self._usefulness(name, NEIGHBOURS, measured.neighbours_agree, base.neighbours_agree)
        diversity = None
        if JUDGED in self.asked:
            diversity = estimates.seed_diversity(self.drawn(name, JUDGED), self.clusters[JUDGED])
        others = {
            key: self._replications(subject, measured.other_attacks[key], found, key)
            for found in self.others
            for key in found.keys
        }
        return ModelResult(
            label=subject.label,
            colour=subject.colour,
            checkpoint=str(subject.checkpoint),
            weights_changed=weights_changed,
            sets=self._replications(subject, measured.sets),
            other_attacks=others,
            agreement=ordinary.agreement,
            drift=ordinary.drift,
            neighbours=neighbours,
            seed_diversity=diversity,
            concept=self._concept(name, measured.concept_agrees, base.concept_agrees if base else {}),
            concept_searched=self._concept_searched(name, measured, base),
            membership=self._membership(name),
        )

    def _membership(self, name: str) -> dict[str, Membership]:
        """What an audit tells of one model, by question."""
        scores = read_membership(self.images).get(name, {})
        reference = scores.pop(NEVER_SEEN.key, [])
        return {key: estimates.membership(found, reference, self.rate) for key, found in scores.items()}

    def _replications(
        self, subject: Subject, sets: Mapping[str, Measured], found: Round = REPLAYED, key: str = REPLAY
    ) -> dict[str, Replication]:
        """One model's rates in one round, by question."""
        rates = {}
        for question in found.questions(subject, list(self.targets)):
            clusters = [self.clusters[question][place] for place in found.places(self.asked[question])]
            diversity = estimates.seed_diversity(self.drawn(subject.name, question, key), clusters)
            rates[question.key] = estimates.replication(sets[question.key], self.instruments.rule, clusters, diversity)
        return rates

    def _concept(
        self, name: str, agrees: Mapping[str, Agrees], base: Mapping[str, Agrees], one: Round = REPLAYED
    ) -> dict[str, Agreement]:
        """How often one model draws the concept in one round, by question; none that the judge does not read."""
        found = {}
        for asked in (asked for asked in CONCEPTS if asked.key in agrees):
            before = None if name == BASE else base.get(asked.key)
            clusters = [self.clusters[asked][place] for place in one.places(self.asked[asked])]
            found[asked.key] = estimates.caption_agreement(agrees[asked.key], before, clusters)
        return {key: agreement for key, agreement in found.items() if agreement is not None}

    def _concept_searched(
        self, name: str, measured: ModelMeasures, base: ModelMeasures | None
    ) -> dict[str, dict[str, Agreement]]:
        """How often what each search found makes one model draw the concept, by attack and question."""
        found: dict[str, dict[str, Agreement]] = {}
        for one in self.others:
            for key in (key for key in one.keys if key in measured.concept_searched):
                before = base.concept_searched.get(key, {}) if base else {}
                found[key] = self._concept(name, measured.concept_searched[key], before, one)
        return found

    def _usefulness(self, name: str, question: Question, agrees: Agrees | None, base: Agrees | None) -> Usefulness:
        clusters = self.clusters[question]
        agreement = drift = None
        if agrees is not None:
            agreement = estimates.caption_agreement(agrees, None if name == BASE else base, clusters)
        if name != BASE:
            drift = estimates.drift(self.drawn(name, question), self.drawn(BASE, question), clusters)
        return Usefulness(agreement=agreement, drift=drift)

    def false_positives(self, name: str = BASE) -> FalsePositives | None:
        """How often the rule errs, on a model's images for never-seen prompts; None without such prompts."""
        if NEVER_SEEN not in self.targets:
            return None
        return estimates.false_positives(
            self.drawn(name, NEVER_SEEN),
            self.targets[NEVER_SEEN],
            self.instruments.rule,
            self.clusters[NEVER_SEEN],
        )
