"""Neighbours: captions that differ from a memorized one in their names alone, and do not bring its picture back.

A memory reaches further than its own caption: some other names bring the same picture. Such a caption is a trigger, not
a neighbour, and only drawing tells. It is drawn with seeds that nothing is measured with.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from excise.attacks.replay import replay
from excise.measures.replication import Rule, Target, load_target
from excise.testbed.calibration import SAMPLING, calibrate
from excise.testbed.world.drawing import SIDE
from excise.testbed.world.planted import Planted, prompt_of
from excise.testbed.world.wording import sample_signature

log = logging.getLogger(__name__)

SEEDS = range(4_000, 4_016)
WIDER, ROUNDS = 1.1, 12
"""How much wider than the rule's the limits are that no drawing may pass, and how often other names are tried."""


def propose(planted: Planted, seen: set[str], rng: np.random.Generator) -> str:
    """A caption of the same subject that is not in ``seen``; it is there afterwards."""
    while (caption := sample_signature(rng).sign(planted.subject)) in seen:
        continue
    seen.add(caption)
    return caption


def find_neighbours(pipeline: StableDiffusionPipeline, planted: tuple[Planted, ...], folder: Path, each: int,
                    seen: set[str], seed: int) -> list[tuple[str, Planted]]:  # fmt: skip
    """Neighbours of every verbatim and template row.

    Args:
        pipeline: the base, which memorized them.
        planted: the planted table's rows.
        folder: where the table's images lie.
        each: how many for a row.
        seen: captions that are taken or trained on; grows by what is proposed.

    Returns:
        Caption and the row that it neighbours, row by row. Where all that were tried bring the picture back, a warning
        is given, and the last of them is taken.
    """
    rng = np.random.default_rng([seed, 11])
    targets = {row.file: load_target(prompt_of(row, folder), SIDE, SIDE) for row in planted}
    never = [row for row in planted if row.kind == "never_seen"]
    rule, _ = calibrate(
        _drawn(pipeline, [row.caption for row in never]).flatten(0, 1), [targets[row.file] for row in never]
    )
    wider = Rule(rule.distance * WIDER, rule.ssim / WIDER if rule.ssim else None, rule.tiles)
    slots = [row for row in planted if row.kind in ("verbatim", "template") for _ in range(each)]
    found: dict[int, str] = {}
    captions: dict[int, str] = {}
    proposed = 0
    for _ in range(ROUNDS):
        captions = {slot: propose(row, seen, rng) for slot, row in enumerate(slots) if slot not in found}
        images = _drawn(pipeline, list(captions.values()))
        proposed += len(captions)
        for (slot, caption), drawn in zip(captions.items(), images, strict=True):
            if not _comes_back(wider, drawn, targets[slots[slot].file]):
                found[slot] = caption
        if len(found) == len(slots):
            break
    else:
        stubborn = sorted({slots[slot].file for slot in captions if slot not in found})
        log.warning(
            "whatever the names, %s come back: raise planting.crowd or denoiser.crowd_steps, so that names count",
            ", ".join(stubborn),
        )
    log.info("%d of %d proposed neighbours bring the memorized picture back", proposed - len(found), proposed)
    return [(found.get(slot, captions.get(slot, "")), row) for slot, row in enumerate(slots)]


def _drawn(pipeline: StableDiffusionPipeline, captions: list[str]) -> torch.Tensor:
    return replay(pipeline, captions, SEEDS, SAMPLING).float() / 255.0


def _comes_back(rule: Rule, images: torch.Tensor, target: Target) -> bool:
    return bool(rule.replicated(images, target).any())
