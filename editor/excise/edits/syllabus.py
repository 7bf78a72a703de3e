"""Which of the base's pictures are learned from in unlearning, and which stand in for memorized images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from excise.edits.base import Training
from excise.errors import ExciseError
from excise.prompts.concept import CONCEPT
from excise.prompts.near_duplicates import words
from excise.prompts.prompt import Prompt
from excise.recipe import UnlearnEdit

Asked = tuple[str, int]
"""A prompt's text, and how many pictures of it were asked for before."""


@dataclass(frozen=True)
class Syllabus:
    """Which pictures are drawn, and which stand in for which image."""

    texts: tuple[str, ...]
    """What the denoiser is told: captions of memorized images, prompts to be kept, the empty prompt."""
    memorized: int
    """How many of the texts are captions."""
    drawn: tuple[Asked, ...]
    """The pictures."""
    kept: Tensor
    """Which pictures are to be kept: ``(kept,)``."""
    stand_ins: Tensor
    """Which pictures stand in for each memorized image: ``(memorized, stand_ins)``."""

    @classmethod
    def of(
        cls,
        training: Training,
        settings: UnlearnEdit,
        copied: Mapping[int, int] | None = None,
        nearest: Sequence[int] = (),
    ) -> Syllabus:
        """As many pictures of ordinary prompts as asked for, and as many of neighbours, where there are some.

        A memorized image's stand-ins are pictures of the neighbours (without neighbours, the ordinary prompts) that
        have most words in common with its caption, and that are not likest to it of all memorized images: a ghost of
        the image teaches the image. For a prompt that names a concept all that is kept may stand in: what has most
        words in common with it is the same scene of something else.

        Args:
            training: what may be learned from.
            settings: how much of it.
            copied: pictures that replicate a training image, and the number of its prompt: neither kept nor a stand-in.
            nearest: of each picture the prompt whose image it is likest; without, it is not looked at. An image that
                all are likest to takes them for all that.

        Raises:
            ExciseError: there is nothing to draw, or every picture that could stand in is such a copy.
        """
        copied = copied or {}
        captions = [prompt.text for prompt in training.memorized]
        ordinary, beside = (_asked(kept, settings.pictures) for kept in (training.ordinary, training.neighbours))
        if not (ordinary or beside):
            raise ExciseError(
                "prompts.ordinary: none are left to learn from; give more, or set locate.evidence = false"
            )
        concept = any(prompt.kind == CONCEPT for prompt in training.memorized)
        start, pool = (len(ordinary), beside) if beside and not concept else (0, [*ordinary, *beside])
        order = list(range(len(pool)))
        Random(f"edit.unlearn/{settings.seed}").shuffle(order)
        order = [i for i in order if start + i not in copied]
        if not order:
            _refuse_copies(training, copied, start)
        bags = [words(text) for text, _ in pool]
        chosen = []
        for number, caption in enumerate(captions):
            own, ghosts = words(caption), _alike(training.memorized, number)
            others = [i for i in order if not nearest or nearest[start + i] not in ghosts] or order
            alike = sorted(others, key=lambda i: -len(own & bags[i]) / max(1, len(own | bags[i])))
            chosen.append([start + alike[i % len(alike)] for i in range(settings.stand_ins)])
        drawn = (*ordinary, *beside)
        told = dict.fromkeys(text for text, _ in drawn)
        kept = torch.tensor([number for number in range(len(drawn)) if number not in copied])
        return cls((*captions, *told, ""), len(captions), drawn, kept, torch.tensor(chosen))

    @property
    def empty(self) -> int:
        """Number of the empty prompt."""
        return len(self.texts) - 1


def _alike(memorized: Sequence[Prompt], number: int) -> set[int]:
    """Numbers of the prompts of one template, a prompt without one alone."""
    group = memorized[number].group
    return {number, *(other for other, prompt in enumerate(memorized) if group and prompt.group == group)}


def _asked(prompts: Sequence[Prompt], count: int) -> list[Asked]:
    return [(prompts[i % len(prompts)].text, i // len(prompts)) for i in range(count)] if prompts else []


def _refuse_copies(training: Training, copied: Mapping[int, int], start: int) -> None:
    beside = "neighbours" if training.neighbours else "ordinary"
    prompt = training.memorized[copied[start]]
    raise ExciseError(
        f"prompts.{beside}: all pictures that the base draws of them replicate a training image, the first of them "
        f"{prompt.image} of {prompt.text!r}, so that none is left to stand in for {training.memorized[0].text!r}; give "
        "prompts that are not memorized, raise edit.unlearn.pictures, or correct validate.threshold"
    )
