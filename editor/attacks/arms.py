"""The models under test, what each is asked, and their images: all start every (prompt, seed) from the same noise."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from editor.attacks.replay import replay
from editor.diffusion.load import denoiser, load_pipeline, pick_device
from editor.diffusion.patching import zeroed
from editor.errors import ExciseError
from editor.files import write_json
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


def make_images(
    recipe: Recipe,
    plan: Mapping[str, tuple[Prompt, ...]],
    arms: tuple[Arm, ...],
    masks: Mapping[str, Tensor],
    partial: Path,
) -> None:
    """Fill ``partial`` with the images that are not there yet, a file per arm and set; each checkpoint is loaded once.

    Raises:
        ExciseError: a checkpoint that cannot be loaded, or that gives broken pixels.
    """
    sizes = {key: len(prompts) * len(seeds_of(recipe, key)) for key, prompts in plan.items()}
    work = [(arm, key) for arm in arms for key in keys_of(arm, plan)]
    left = [(arm, key) for arm, key in work if not arm.stored(partial, key).exists()]
    done = sum(sizes[key] for arm, key in work) - sum(sizes[key] for _, key in left)
    with tqdm(total=sum(sizes[key] for _, key in work), initial=done, desc="images", unit="image") as progress:
        for checkpoint in dict.fromkeys(arm.checkpoint for arm, _ in left):
            started = time.monotonic()
            dtype = getattr(torch, recipe.model.dtype)
            pipeline = load_pipeline(checkpoint, dtype, pick_device(recipe.model.device))
            for arm, key in left:
                if arm.checkpoint != checkpoint:
                    continue
                texts = [prompt.text for prompt in plan[key]]
                progress.set_postfix_str(f"{arm.label}, {key.replace('_', ' ')}")
                edit = nullcontext() if arm.draw is None else zeroed(denoiser(pipeline), random_edit(masks, arm.draw))
                with edit:
                    images = replay(pipeline, texts, seeds_of(recipe, key), recipe.sampling, progress)
                _store(arm.stored(partial, key), images)
                seconds = read_seconds(partial)
                seconds[arm.name] = round(seconds.get(arm.name, 0.0) + time.monotonic() - started, 2)
                write_json(partial / SECONDS, seconds)
                started = time.monotonic()
            del pipeline
            gc.collect()


def _store(path: Path, images: Tensor) -> None:
    unfinished = path.with_suffix(".tmp")
    save_file({"images": images}, unfinished)
    os.replace(unfinished, path)


def read_seconds(partial: Path) -> dict[str, float]:
    """Seconds that each arm's images took, over restarts."""
    path = partial / SECONDS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
