"""The images that models draw when asked: in batches, each a partial result, joined when all are there.

All models start every (prompt, seed) from the same noise.
"""

from __future__ import annotations

import gc
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from excise.attacks import Target, attack
from excise.checkpoint import Checkpoint
from excise.diffusion.load import denoiser, pick_device, pick_dtype
from excise.diffusion.patching import patched
from excise.edits import changes_of
from excise.files.writing import write_json, write_tensors
from excise.measures.replication import load_target
from excise.prompts.prompt import Prompt
from excise.prompts.questions import Question
from excise.recipe import Sampling
from excise.recipe.suite import Asking
from excise.run.images import SUFFIX, write_images, write_triggers
from excise.run.progress import Bar
from excise.trial.rounds import AIMED, REPLAY, Round, aiming, others_of
from excise.trial.subjects import Subject

Asked = Mapping[Question, tuple[Prompt, ...]]


@dataclass(frozen=True)
class Block:
    """Images that are one partial result: what one round draws of one model for a few prompts of one question.

    Under replay a batch of (prompt, seed) pairs; of a search a chunk of prompts with all their seeds, at every point.
    """

    round: Round
    subject: Subject
    question: Question
    number: int
    pairs: tuple[tuple[Prompt, int], ...]
    others: tuple[Prompt | None, ...] = ()
    """For each of its prompts another of the question, where the round searches and there is one."""
    aims: tuple[Block, ...] = ()
    """What the base drew for them and these others, where that is what is searched for: other blocks, made before."""

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Its prompts, each once, in order."""
        return tuple(dict.fromkeys(prompt for prompt, _ in self.pairs))

    @property
    def name(self) -> str:
        """Of the round, in tables; replay goes without saying."""
        return "" if self.round.attack == REPLAY else self.round.name

    def stored(self, folder: Path) -> Path:
        """Where its images are."""
        name = self.round.name.replace("/", ".")
        return folder / f"{name}.{self.subject.name}.{self.question.key}.{self.number:05d}{SUFFIX}"

    def told(self, folder: Path) -> Path:
        """Where its triggers are, in words."""
        return self.stored(folder).with_suffix(".json")

    def spent(self, sampling: Sampling) -> list[int]:
        """Denoiser calls of one image each that it takes, up to each point: of drawing, and of searching, whose calls
        grow with the points."""
        points, settings = self.round.budget(sampling).points, self.round.settings
        search = len(self.prompts) * settings.calls(self.round.variant) if settings else 0
        drawing = len(self.pairs) * sampling.steps
        return [drawing * done + search * point // (points[-1] or 1) for done, point in enumerate(points, start=1)]

    def calls(self, sampling: Sampling) -> int:
        """All of them."""
        return self.spent(sampling)[-1]

    def make(self, sampling: Sampling, pipeline: DiffusionPipeline, side: int, partial: Path, bar: Bar) -> None:
        """Search and draw, and keep the images.

        Raises:
            ExciseError: a model that cannot be attacked, or that gives broken pixels.
        """
        started, chosen, budget = time.monotonic(), attack(self.round.attack), self.round.budget(sampling)
        images, told, before = [], [], 0
        with closing(chosen.find(pipeline, _targets(self, side, partial), budget)) as search:
            for found, spent in zip(search, self.spent(sampling), strict=True):
                triggers = dict(zip(self.prompts, found.triggers, strict=True))
                images.append(
                    chosen.draw(pipeline, [(triggers[prompt], seed) for prompt, seed in self.pairs], sampling)
                )
                told.append([trigger.text for trigger in found.triggers])
                bar.update(spent - before)
                before = spent
        seconds = torch.tensor(time.monotonic() - started, dtype=torch.float64)
        if self.round.attack != REPLAY:
            write_json(self.told(partial), told)
        write_tensors(self.stored(partial), {"images": torch.stack(images), "seconds": seconds})


def blocks_of(recipe: Asking, asked: Asked, subjects: Sequence[Subject]) -> list[Block]:
    """All images of a trial, in batches; they depend on the recipe alone, and so do the bits of what is made."""
    blocks: list[Block] = []
    for found in aiming(recipe, asked):
        for subject in subjects:
            for question in found.questions(subject, asked):
                aims = [block for block in blocks if block.round == AIMED and block.question == question]
                blocks += _blocks(recipe, found, subject, question, asked, tuple(aims))
    return blocks


def _blocks(
    recipe: Asking, found: Round, subject: Subject, question: Question, asked: Asked, aims: tuple[Block, ...]
) -> list[Block]:
    """The images of one round, model and question."""
    prompts = asked[question]
    chosen, seeds = [prompts[place] for place in found.places(prompts)], found.seeds(recipe, question)
    pairs = [(prompt, seed) for prompt in chosen for seed in seeds]
    size = found.settings.chunk * len(seeds) if found.settings else recipe.sampling.batch
    parts = [tuple(pairs[start : start + size]) for start in range(0, len(pairs), size)]
    blocks = [Block(found, subject, question, number, part) for number, part in enumerate(parts)]
    if found.settings is None:
        return blocks
    others = others_of(question, asked)
    return [replace(block, others=tuple(others.get(prompt) for prompt in block.prompts), aims=aims) for block in blocks]


class Part(Protocol):
    """What a process makes at a time of one model: a `Block`, or what it says of some images."""

    @property
    def subject(self) -> Subject:
        """The model."""

    @property
    def question(self) -> Question:
        """What it is asked."""

    @property
    def name(self) -> str:
        """How it is asked, for who waits."""

    def stored(self, folder: Path) -> Path:
        """Where the result is."""

    def calls(self, sampling: Sampling) -> int:
        """Denoiser calls of one image each that it takes."""

    def make(self, sampling: Sampling, pipeline: DiffusionPipeline, side: int, partial: Path, bar: Bar) -> None:
        """Make and keep it; ``bar`` advances by its calls."""


def make_parts(
    recipe: Asking,
    blocks: Sequence[Part],
    open_checkpoint: Callable[[Path], Checkpoint],
    partial: Path,
    bar: Bar,
) -> None:
    """Make the parts that are not in ``partial`` yet; each checkpoint is loaded once.

    Args:
        recipe: how.
        blocks: what; the aims of those that have some lie in ``partial``.
        open_checkpoint: opens a subject's checkpoint.
        partial: where they go.
        bar: advances by the denoiser calls that were made.

    Raises:
        ExciseError: a checkpoint that cannot be loaded or attacked, or that gives broken pixels.
    """
    left = [block for block in blocks if not block.stored(partial).exists()]
    for path in dict.fromkeys(block.subject.checkpoint for block in left):
        device = pick_device(recipe.model.device)
        dtype = pick_dtype(recipe.model.dtype, device)
        checkpoint = open_checkpoint(path)
        side = checkpoint.side(recipe.sampling.size)
        pipeline = checkpoint.load(dtype, device, recipe.model.offload)
        for subject in dict.fromkeys(block.subject for block in left if block.subject.checkpoint == path):
            with _changed(pipeline, subject):
                for block in (block for block in left if block.subject == subject):
                    bar.set_postfix_str(", ".join(filter(None, (block.name, subject.label, block.question.label))))
                    block.make(recipe.sampling, pipeline, side, partial, bar)
        del pipeline
        gc.collect()


def _changed(pipeline: DiffusionPipeline, subject: Subject) -> AbstractContextManager[None]:
    """The pipeline with the subject's change, for as long as the context lasts."""
    return nullcontext() if subject.change is None else patched(denoiser(pipeline), changes_of(subject.change()))


def _targets(block: Block, side: int, partial: Path) -> list[Target]:
    """What a block's search is for; of replay, which has no use for images, prompts alone."""
    if block.round.attack == REPLAY:
        return [Target(prompt) for prompt in block.prompts]
    others = block.others or (None,) * len(block.prompts)
    shown = [prompt for prompt in (*block.prompts, *others) if prompt is not None]
    if block.aims:
        pictures = {
            prompt: image.float() / 255.0
            for aims in block.aims
            for (prompt, _), image in zip(aims.pairs, load_file(aims.stored(partial))["images"][0], strict=True)
        }
    else:
        pictures = {prompt: load_target(prompt, side, side).image for prompt in dict.fromkeys(shown)}
    return [
        Target(prompt, pictures[prompt], Target(other, pictures[other]) if other else None)
        for prompt, other in zip(block.prompts, others, strict=True)
    ]


def join_images(blocks: Sequence[Block], partial: Path, folder: Path) -> dict[str, float]:
    """Join finished blocks in ``folder``, laid out as `excise.run.images` reads it; what seconds each model took."""
    folder.mkdir()
    seconds: dict[str, float] = defaultdict(float)
    triggers: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(lambda: defaultdict(dict))
    for (found, subject, question), group in groupby(blocks, key=lambda b: (b.round, b.subject, b.question)):
        parts = list(group)
        made = [load_file(block.stored(partial)) for block in parts]
        seeds = len({seed for block in parts for _, seed in block.pairs})
        for place, key in enumerate(found.keys):
            images = torch.cat([part["images"][place] for part in made]).unflatten(0, (-1, seeds))
            write_images(folder, key, subject.name, question, images)
            if found.attack != REPLAY:
                told = [json.loads(block.told(partial).read_text(encoding="utf-8"))[place] for block in parts]
                triggers[key][subject.name][question.key] = [text for texts in told for text in texts]
        seconds[subject.name] += sum(float(part["seconds"]) for part in made)
    for key, found_by in triggers.items():
        write_triggers(folder, key, found_by)
    return seconds
