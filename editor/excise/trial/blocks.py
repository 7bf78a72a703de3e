"""The images that models draw when asked: in batches, each a partial result, joined when all are there.

All models start every (prompt, seed) from the same noise.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from excise.attacks import Budget, attack
from excise.checkpoint import Checkpoint
from excise.diffusion.load import denoiser, pick_device, pick_dtype
from excise.diffusion.patching import patched
from excise.edits import changes_of
from excise.files.writing import write_tensors
from excise.prompts.prompt import Prompt
from excise.prompts.questions import UNMEASURED, Question
from excise.recipe import Recipe
from excise.run.images import SUFFIX, write_images, write_seconds
from excise.run.progress import Bar
from excise.trial.subjects import Subject

REPLAY = "replay"
"""The attack by which prompts without a training image are asked; there is nothing to search for."""
UNMEASURED_SEEDS = 2
"""Seeds of a prompt without a training image: as many as the report shows, and as drift needs; more prompts, not more
seeds, narrow its intervals."""
Asked = Mapping[Question, tuple[Prompt, ...]]


def seeds_of(recipe: Recipe, asked: Question) -> range:
    """Seeds of the images of one question."""
    count = UNMEASURED_SEEDS if asked in UNMEASURED else recipe.validate_.seeds
    return range(recipe.validate_.seed, recipe.validate_.seed + count)


@dataclass(frozen=True)
class Block:
    """Images that are one partial result: a batch of (prompt, seed) pairs of one attack, model and question."""

    attack: str
    subject: Subject
    question: Question
    number: int
    pairs: tuple[tuple[Prompt, int], ...]

    def stored(self, folder: Path) -> Path:
        """Where its images are."""
        return folder / f"{self.attack}.{self.subject.name}.{self.question.key}.{self.number:05d}{SUFFIX}"


def blocks_of(recipe: Recipe, asked: Asked, subjects: Sequence[Subject]) -> list[Block]:
    """All images of a trial, in batches; they depend on the recipe alone, and so do the bits of what is made."""
    blocks = []
    for name in recipe.attack.methods:
        for subject in subjects:
            for question in subject.asked(asked):
                if question in UNMEASURED and name != REPLAY:
                    continue
                pairs = [(prompt, seed) for prompt in asked[question] for seed in seeds_of(recipe, question)]
                size = recipe.sampling.batch
                parts = [tuple(pairs[start : start + size]) for start in range(0, len(pairs), size)]
                blocks += [Block(name, subject, question, number, part) for number, part in enumerate(parts)]
    return blocks


def make_images(
    recipe: Recipe,
    blocks: Sequence[Block],
    open_checkpoint: Callable[[Path], Checkpoint],
    partial: Path,
    bar: Bar,
) -> None:
    """Make the blocks that are not in ``partial`` yet; each checkpoint is loaded once.

    Raises:
        ExciseError: a checkpoint that cannot be loaded, or that gives broken pixels.
    """
    left = [block for block in blocks if not block.stored(partial).exists()]
    for checkpoint in dict.fromkeys(block.subject.checkpoint for block in left):
        device = pick_device(recipe.model.device)
        dtype = pick_dtype(recipe.model.dtype, device)
        pipeline = open_checkpoint(checkpoint).load(dtype, device, recipe.model.offload)
        for subject in dict.fromkeys(block.subject for block in left if block.subject.checkpoint == checkpoint):
            with _changed(pipeline, subject):
                for block in (block for block in left if block.subject == subject):
                    bar.set_postfix_str(f"{subject.label}, {block.question.label}")
                    _make(recipe, pipeline, block, partial)
                    bar.update(len(block.pairs))
        del pipeline
        gc.collect()


def _changed(pipeline: DiffusionPipeline, subject: Subject) -> AbstractContextManager[None]:
    """The pipeline with the subject's change, for as long as the context lasts."""
    return nullcontext() if subject.change is None else patched(denoiser(pipeline), changes_of(subject.change()))


def _make(recipe: Recipe, pipeline: DiffusionPipeline, block: Block, partial: Path) -> None:
    started, chosen = time.monotonic(), attack(block.attack)
    targets = list(dict.fromkeys(prompt for prompt, _ in block.pairs))
    budget = Budget.of(recipe.attack.settings(block.attack))
    triggers = dict(zip(targets, chosen.find(pipeline, targets, budget), strict=True))
    images = chosen.draw(pipeline, [(triggers[prompt], seed) for prompt, seed in block.pairs], recipe.sampling)
    seconds = torch.tensor(time.monotonic() - started, dtype=torch.float64)
    write_tensors(block.stored(partial), {"images": images, "seconds": seconds})


def join_images(blocks: Sequence[Block], partial: Path, folder: Path) -> None:
    """Join finished blocks in ``folder``, laid out as `excise.run.images` reads it."""
    folder.mkdir()
    seconds: dict[str, float] = defaultdict(float)
    for (name, subject, question), found in groupby(blocks, key=lambda b: (b.attack, b.subject, b.question)):
        parts = list(found)
        made = [load_file(block.stored(partial)) for block in parts]
        seeds = len({seed for block in parts for _, seed in block.pairs})
        images = torch.cat([part["images"] for part in made]).unflatten(0, (-1, seeds))
        (folder / name).mkdir(exist_ok=True)
        write_images(folder, name, subject.name, question, images)
        seconds[subject.name] += sum(float(part["seconds"]) for part in made)
    write_seconds(folder, seconds)
