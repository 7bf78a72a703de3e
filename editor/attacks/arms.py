"""The models under test, what each is asked, and their images: all start every (prompt, seed) from the same noise."""

from __future__ import annotations

import gc
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from editor.attacks.replay import replay_pairs
from editor.diffusion.load import denoiser, load_pipeline, pick_device, pick_dtype
from editor.diffusion.patching import zeroed
from editor.diffusion.sites import find_sites
from editor.errors import ExciseError
from editor.files import write_json, write_tensors
from editor.measures.control import random_edit
from editor.prompts import Prompt, PromptSets
from editor.recipe import Recipe

SECONDS = "seconds.json"
KINDS = ("verbatim", "template")
JUDGED_SEEDS = 2
"""Seeds of an ordinary prompt: as many as drift needs; more prompts, not more seeds, narrow its intervals."""


@dataclass(frozen=True)
class Arm:
    """A model under test."""

    name: str
    label: str
    checkpoint: Path
    draw: int | None = None
    """Number of a random control edit, made in memory; None for a checkpoint as it is."""

    def stored(self, folder: Path, key: str) -> Path:
        """Where its images of one set are."""
        return folder / f"{self.name}.{key}.safetensors"


def attacked_sets(sets: PromptSets) -> dict[str, tuple[Prompt, ...]]:
    """Prompts by set as docs/verdict.md names them; no empty set. Prompts without a training image are left out.

    Raises:
        ExciseError: an unknown kind of prompt.
        ValueError: a prompt is both located and held out.
    """
    located = tuple(prompt for group in sets.located for prompt in group)
    if {prompt.text for prompt in located} & {prompt.text for prompt in sets.held_out}:
        raise ValueError("a held-out prompt was used to locate")
    plan = {}
    for place, prompts in (("located", located), ("held_out", sets.held_out)):
        for prompt in prompts:
            if prompt.kind not in KINDS:
                raise ExciseError(
                    f"prompts.memorized: {prompt.text!r} is of kind {prompt.kind!r}; known are {', '.join(KINDS)}"
                )
        for kind in KINDS:
            plan[f"{place}_{kind}"] = tuple(p for p in prompts if p.kind == kind and p.image)
    plan["never_seen"] = tuple(prompt for prompt in sets.never_seen if prompt.image)
    plan["judged"] = sets.judged
    return {key: prompts for key, prompts in plan.items() if prompts}


def arms_of(recipe: Recipe, folder: Path) -> tuple[Arm, ...]:
    """The models under test, in the verdict's order."""
    base = recipe.model.path
    arms = [Arm("base", "base", base), Arm("edited", "edited", folder / "edited")]
    if recipe.model.twin is not None:
        arms.append(Arm("twin", "twin", recipe.model.twin))
    draws = range(1, recipe.validate_.random_edits + 1)
    return (*arms, *(Arm(f"random-{draw}", f"random edit {draw}", base, draw) for draw in draws))


def seeds_of(recipe: Recipe, key: str) -> range:
    """Seeds of the images of one set."""
    count = JUDGED_SEEDS if key == "judged" else recipe.validate_.seeds
    return range(recipe.validate_.seed, recipe.validate_.seed + count)


def keys_of(arm: Arm, plan: Mapping[str, Any]) -> list[str]:
    """Sets that an arm is tried on; never-seen prompts show the threshold's errors, for which two models suffice."""
    return [key for key in plan if key != "never_seen" or arm.name in ("base", "edited")]


@dataclass(frozen=True)
class Block:
    """Images that are one partial result: a batch of (prompt, seed) pairs of one arm and set."""

    arm: Arm
    key: str
    number: int
    pairs: tuple[tuple[str, int], ...]

    def stored(self, folder: Path) -> Path:
        """Where its images are."""
        return folder / f"{self.arm.name}.{self.key}.{self.number:05d}.safetensors"


def blocks_of(recipe: Recipe, plan: Mapping[str, tuple[Prompt, ...]], arms: tuple[Arm, ...]) -> list[Block]:
    """All images of the attack, in batches; they depend on the recipe alone, and so do the bits of what is made."""
    blocks = []
    for arm in arms:
        for key in keys_of(arm, plan):
            pairs = [(prompt.text, seed) for prompt in plan[key] for seed in seeds_of(recipe, key)]
            parts = [
                pairs[start : start + recipe.sampling.batch] for start in range(0, len(pairs), recipe.sampling.batch)
            ]
            blocks += [Block(arm, key, number, tuple(part)) for number, part in enumerate(parts)]
    return blocks


def make_images(
    recipe: Recipe, blocks: Sequence[Block], masks: Mapping[str, Tensor], partial: Path, progress: tqdm[None]
) -> None:
    """Make the blocks that are not in ``partial`` yet; each checkpoint is loaded once.

    Raises:
        ExciseError: a checkpoint that cannot be loaded, or that gives broken pixels.
    """
    left = [block for block in blocks if not block.stored(partial).exists()]
    for checkpoint in dict.fromkeys(block.arm.checkpoint for block in left):
        device = pick_device(recipe.model.device)
        pipeline = load_pipeline(checkpoint, pick_dtype(recipe.model.dtype, device), device, recipe.model.offload)
        for arm in dict.fromkeys(block.arm for block in left if block.arm.checkpoint == checkpoint):
            with _control(recipe, pipeline, masks, arm.draw):
                for block in (block for block in left if block.arm == arm):
                    progress.set_postfix_str(f"{arm.label}, {block.key.replace('_', ' ')}")
                    started = time.monotonic()
                    images = replay_pairs(pipeline, block.pairs, recipe.sampling)
                    seconds = torch.tensor(time.monotonic() - started, dtype=torch.float64)
                    write_tensors(block.stored(partial), {"images": images, "seconds": seconds})
                    progress.update(len(images))
        del pipeline
        gc.collect()


def join_images(blocks: Sequence[Block], partial: Path, folder: Path) -> None:
    """Join finished blocks, in ``folder``: a file for each arm and set, ``(prompts, seeds, 3, height, width)``."""
    folder.mkdir()
    seconds: dict[str, float] = defaultdict(float)
    for (arm, key), found in groupby(blocks, key=lambda block: (block.arm, block.key)):
        parts = list(found)
        stored = [load_file(block.stored(partial)) for block in parts]
        seeds = len({seed for block in parts for _, seed in block.pairs})
        images = torch.cat([part["images"] for part in stored])
        write_tensors(arm.stored(folder, key), {"images": images.unflatten(0, (-1, seeds))})
        seconds[arm.name] += sum(float(part["seconds"]) for part in stored)
    write_json(folder / SECONDS, {name: round(value, 2) for name, value in seconds.items()})


def _control(
    recipe: Recipe, pipeline: DiffusionPipeline, masks: Mapping[str, Tensor], draw: int | None
) -> AbstractContextManager[None]:
    """The random edit of number ``draw``, in memory; without a number the model as it is."""
    if draw is None:
        return nullcontext()
    network = denoiser(pipeline)
    return zeroed(network, find_sites(network, recipe.collect.sites), random_edit(masks, draw))


def read_seconds(folder: Path) -> dict[str, float]:
    """Seconds that each arm's images took, over restarts and processes, loading left out."""
    path = folder / SECONDS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
