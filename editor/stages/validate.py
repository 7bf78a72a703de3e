"""validate: measure replication and usefulness in every arm's images the same way, and decide.

Writes `verdict.json` and, per image, `measures.json`; docs/verdict.md describes both field by field.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from editor.attacks.arms import (
    Arm,
    arms_of,
    attacked_sets,
    keys_of,
    read_seconds,
    seeds_of,
)
from editor.diffusion.load import pick_device
from editor.diffusion.sites import sites_of
from editor.errors import ExciseError
from editor.files import write_json
from editor.hashing import sha256_file
from editor.measures import tally
from editor.measures.agreement import judge_images
from editor.measures.replication import load_target
from editor.measures.sscd import load_sscd
from editor.measures.verdict import decide
from editor.prompts import Prompt, PromptSets
from editor.recipe import Recipe
from editor.stages import attack
from editor.stages.locate import read_masks

OUTPUT = "verdict.json"
MEASURES = "measures.json"


@dataclass(frozen=True)
class Instruments:
    """What measures; None for what the recipe does not name."""

    judge: Path | None
    sscd: nn.Module | None
    device: torch.device


def run(recipe: Recipe, sets: PromptSets, folder: Path) -> None:
    """Measure the images of the attack, and write `verdict.json` and `measures.json`.

    Raises:
        ExciseError: a training image, mask, judge or SSCD file that cannot be used.
    """
    started = time.monotonic()
    plan, arms, images = attacked_sets(sets), arms_of(recipe, folder), folder / attack.OUTPUT
    settings, device = recipe.validate_, pick_device(recipe.model.device)
    instruments = Instruments(settings.judge, load_sscd(settings.sscd, device) if settings.sscd else None, device)
    masks = read_masks(folder, sites_of(recipe.model.path, recipe.collect.sites))
    verdict, measures = _measure(recipe, sets, plan, arms, instruments, masks, images)
    verdict["images"] = {file.name: sha256_file(file) for file in sorted(images.glob("*.safetensors"))}
    verdict["seconds"] = read_seconds(images) | {"measures": round(time.monotonic() - started, 2)}
    write_json(folder / MEASURES, measures)
    write_json(folder / OUTPUT, verdict)


def _measure(
    recipe: Recipe,
    sets: PromptSets,
    plan: Mapping[str, tuple[Prompt, ...]],
    arms: tuple[Arm, ...],
    instruments: Instruments,
    masks: Mapping[str, Tensor],
    stored: Path,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The verdict without ``seconds`` and ``images``; and the measures of every image."""
    settings = recipe.validate_
    zeroed_entries = sum(int(mask.sum()) for mask in masks.values())
    size = _image_size(arms, plan, stored)
    targets = {key: [load_target(p, *size) for p in plan[key]] for key in plan if key != "judged"}
    clusters = {key: tally.clusters_of(prompts) for key, prompts in plan.items()}
    images: dict[str, Any] = {arm.name: {} for arm in arms}
    found: dict[str, Any] = {}
    for arm in arms:
        entries = {"base": 0, "twin": None}.get(arm.name, zeroed_entries)
        found[arm.name] = {"label": arm.label, "checkpoint": str(arm.checkpoint), "entries_zeroed": entries, "sets": {}}
        for key in keys_of(arm, targets):
            path = arm.stored(stored, key)
            images[arm.name][key] = tally.per_image(
                path, targets[key], settings.tiles, instruments.sscd, instruments.device
            )
            found[arm.name]["sets"][key] = tally.replication(
                images[arm.name][key], settings.threshold, settings.ssim, clusters[key]
            )
            found[arm.name]["sets"][key]["seed_diversity"] = tally.seed_diversity(path, clusters[key])
        _measure_usefulness(instruments.judge, plan["judged"], arm, arms[0], stored, found[arm.name], images)
    null = None
    if "never_seen" in plan:
        path = arms[0].stored(stored, "never_seen")
        null = tally.false_positives(
            path, targets["never_seen"], clusters["never_seen"], settings.tiles, settings.threshold, settings.ssim
        )
    threshold = {"value": settings.threshold, "ssim": settings.ssim, "tiles": settings.tiles, "never_seen": null}
    memorized = (*(prompt for group in sets.located for prompt in group), *sets.held_out)
    kinds = sorted({prompt.kind for prompt in memorized})
    checks, reasons = decide(found, threshold, kinds, recipe.verdict)
    described = {
        key: {
            "prompts": [{"prompt": p.text, "group": p.group, "kind": p.kind} for p in prompts],
            "seeds": list(seeds_of(recipe, key)),
        }
        for key, prompts in plan.items()
    }
    verdict = {
        "format": 1,
        "recipe": recipe.name,
        "settings": recipe.model_dump(
            mode="json", by_alias=True, include={"model", "sampling", "validate_", "verdict"}
        ),
        "accepted": not reasons,
        "reasons": reasons,
        "checks": checks,
        "threshold": threshold,
        "kinds": kinds,
        "arms": found,
        "evidence": {
            "located": len(memorized) - len(sets.held_out),
            "held_out": len(sets.held_out),
            "judged": len(sets.judged),
            "never_seen": len(sets.never_seen),
            "without_image": sum(prompt.image is None for prompt in (*memorized, *sets.never_seen)),
        },
    }
    return verdict, {"sets": described, "arms": images}


def _measure_usefulness(
    judge: Path | None,
    judged: tuple[Prompt, ...],
    arm: Arm,
    base: Arm,
    stored: Path,
    found: dict[str, Any],
    images: dict[str, Any],
) -> None:
    """Agreement, drift and diversity of one arm on ordinary prompts, into ``found``; the base goes first."""
    path, clusters = arm.stored(stored, "judged"), tally.clusters_of(judged)
    agrees = None
    if judge is not None:
        pictures = torch.stack(list(tally.stored_images(path)))
        agrees = judge_images(judge, pictures, [prompt.text for prompt in judged])
    images[arm.name]["judged"] = {"agrees": agrees}
    before = None if arm is base else images[base.name]["judged"]["agrees"]
    found["agreement"] = tally.caption_agreement(agrees, before, clusters) if agrees is not None else None
    found["drift"] = None if arm is base else tally.drift(path, base.stored(stored, "judged"), clusters)
    found["seed_diversity"] = tally.seed_diversity(path, clusters)


def _image_size(arms: tuple[Arm, ...], plan: Mapping[str, Any], stored: Path) -> tuple[int, int]:
    """Height and width of the images, the same for every arm."""
    sizes = {}
    for arm in arms:
        with safe_open(arm.stored(stored, next(iter(plan))), framework="pt") as file:
            height, width = file.get_slice("images").get_shape()[-2:]
        sizes[arm.name] = (height, width)
    if len(set(sizes.values())) > 1:
        raise ExciseError(
            f"model.twin: images of {sizes['twin']} pixels, of {sizes['base']} by the base; give its twin"
        )
    return sizes["base"]
