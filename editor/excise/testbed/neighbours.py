"""Neighbours: captions that differ from a memorized one in their names alone, and bring no planted picture back.

A memory reaches further than its own caption: some other names bring the same picture, or that of another row of the
subject. Such a caption is a trigger, not a neighbour, and only drawing tells. It is drawn with seeds that nothing is
measured with. A never-seen row's names are screened alike: no model was trained on them, so that others do as well.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from diffusers import StableDiffusionPipeline

from excise.attacks.replay import replay
from excise.measures.replication import Rule, Target, load_target
from excise.testbed.calibration import SAMPLING, calibrate
from excise.testbed.world.drawing import SIDE
from excise.testbed.world.planted import Planted, prompt_of
from excise.testbed.world.wording import sample_signature

log = logging.getLogger(__name__)

SEEDS = (range(4_000, 4_004), range(4_004, 4_016), range(4_016, 4_064))
"""In parts: what one part's pictures show to be a trigger is not drawn with the next."""
WIDER, ROUNDS = 1.1, 12
"""How much wider than the rule's the limits are that no drawing may pass, and how often other names are tried."""


def propose(planted: Planted, seen: set[str], rng: np.random.Generator) -> str:
    """A caption of the same subject that is not in ``seen``; it is there afterwards."""
    while (caption := sample_signature(rng).sign(planted.subject)) in seen:
        continue
    seen.add(caption)
    return caption


@dataclass
class Screen:
    """Draws captions, and sees which planted pictures come back."""

    pipeline: StableDiffusionPipeline
    targets: Sequence[Target]
    """Pictures that training copied: none may come back, whichever the caption's own is."""
    rule: Rule

    def returns(self, captions: Sequence[str]) -> list[float]:
        """For every caption the share of pictures that are a planted one, of those drawn until one was."""
        found, drawn = [0.0] * len(captions), 0
        for seeds in SEEDS:
            if not (left := [i for i, share in enumerate(found) if not share]):
                break
            drawn += len(seeds)
            images = replay(self.pipeline, [captions[i] for i in left], seeds, SAMPLING).float() / 255.0
            for i, pictures in zip(left, images, strict=True):
                found[i] = int(self.rule.replicated_any(pictures, self.targets).sum()) / drawn
        return found


def find_neighbours(pipeline: StableDiffusionPipeline, planted: tuple[Planted, ...], folder: Path, each: int,
                    seen: set[str], seed: int) -> list[tuple[str, Planted]]:  # fmt: skip
    """Neighbours of every verbatim and template row, and one caption for every never-seen row: its own, if it is clean.

    Args:
        pipeline: the base, which memorized them.
        planted: the planted table's rows.
        folder: where the table's images lie.
        each: how many for a verbatim or template row.
        seen: captions that are taken or trained on; grows by what is proposed.

    Returns:
        Caption and the row that it belongs to, row by row. Where all that were tried bring a picture back, a warning
        is given, and that which does at the smallest share is taken.
    """
    rng = np.random.default_rng([seed, 11])
    screen = _screen(pipeline, planted, folder)
    slots = [row for row in planted if row.kind in ("verbatim", "template") for _ in range(each)]
    slots += [row for row in planted if row.kind == "never_seen"]
    best: dict[int, tuple[float, str]] = {}
    for number in range(ROUNDS):
        left = [slot for slot in range(len(slots)) if slot not in best or best[slot][0]]
        if not left:
            break
        own = [slots[slot].kind == "never_seen" and not number for slot in left]
        captions = [
            slots[slot].caption if its else propose(slots[slot], seen, rng) for slot, its in zip(left, own, strict=True)
        ]
        for slot, caption, share in zip(left, captions, screen.returns(captions), strict=True):
            best[slot] = min(best.get(slot, (2.0, "")), (share, caption))
        log.info("round %d: %d captions tried, %d rows left", number, len(left), _stubborn(best))
    if _stubborn(best):
        files = sorted({slots[slot].file for slot, (share, _) in best.items() if share})
        log.warning(
            "whatever the names, captions beside %s bring planted pictures back: raise planting.crowd or "
            "denoiser.crowd_steps, so that names count",
            ", ".join(files),
        )
    return [(best[slot][1], row) for slot, row in enumerate(slots)]


def _stubborn(best: dict[int, tuple[float, str]]) -> int:
    return sum(share > 0 for share, _ in best.values())


def _screen(pipeline: StableDiffusionPipeline, planted: tuple[Planted, ...], folder: Path) -> Screen:
    targets = {row.file: load_target(prompt_of(row, folder), SIDE, SIDE) for row in planted}
    never = [row for row in planted if row.kind == "never_seen"]
    images = replay(pipeline, [row.caption for row in never], SEEDS[1], SAMPLING).float() / 255.0
    rule, _ = calibrate(images.flatten(0, 1), [targets[row.file] for row in never])
    wider = Rule(rule.distance * WIDER, rule.ssim / WIDER if rule.ssim else None, rule.tiles)
    return Screen(pipeline, [targets[row.file] for row in planted if row.copies], wider)
