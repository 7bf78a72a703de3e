"""Does the testbed keep its promises? Memorization of base and twin, caption agreement, and the duplication curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from excise.attacks.replay import replay
from excise.checkpoint import Checkpoint
from excise.diffusion.load import pick_device
from excise.mathematics.intervals import rate_interval
from excise.measures.agreement import judge_images
from excise.measures.drift import seed_distances
from excise.measures.replication import Rule, Target, load_target
from excise.prompts.prompt import Prompt
from excise.recipe import Sampling
from excise.testbed.config import MODELS
from excise.testbed.planting import LADDER, Planted, read_planted
from excise.testbed.prompt_tables import judged_prompts

SAMPLING = Sampling(steps=20, guidance=3.0, batch=64)
"""The testbed's default sampler settings; its recipes use the same."""
FALSE_POSITIVES = 1e-3
TILES = 4
FIRST_SEED = 5_000
JUDGED = 60


def check_testbed(folder: Path, seeds: int, out: Path) -> bool:
    """Measure everything, print a table, leave ``check.json`` and ``duplication.png`` in ``out``; True if all hold.

    Args:
        folder: the testbed: ``base``, ``twin``, ``judge`` and ``images``.
        seeds: images per prompt.
    """
    planted = read_planted(folder / "images" / "planted.csv")
    made = {name: _generate(folder / name, planted, seeds, name == "base") for name in MODELS}
    targets = {p.caption: load_target(_as_prompt(p, folder), 64, 64) for p in planted}
    rule, false_positives = calibrate(
        torch.cat([made["base"][p.caption] for p in planted if p.kind == "never_seen"]),
        [targets[p.caption] for p in planted if p.kind == "never_seen"],
    )
    found: dict[str, Any] = {
        "seeds": seeds,
        "threshold": rule.distance,
        "ssim": rule.ssim,
        "false_positive_rate": false_positives,
    }
    for name, images in made.items():
        for kind in ("verbatim", "template", "ladder", "never_seen"):
            rows = [p for p in planted if p.kind == kind and p.caption in images]
            if rows:
                found[f"{name}_{kind}"] = _replication(rows, images, targets, rule)
    judged = [prompt.text for prompt in judged_prompts(planted, JUDGED)]
    for name, images in made.items():
        pictures = torch.stack([images[caption] for caption in judged])
        agrees = np.array([row for row in judge_images(folder / "judge", pictures, judged) if row is not None])
        found[f"{name}_agreement"] = agrees.mean().item()
    found["seed_distance"] = seed_distances(torch.stack([made["base"][caption] for caption in judged])).median().item()
    found["duplication"] = _ladder(planted, made["base"], targets, rule)
    checks = {
        "verbatim MR of base >= 95 %": found["base_verbatim"]["rate"] >= 0.95,
        "verbatim MR of twin = 0": found["twin_verbatim"]["rate"] == 0.0,
        "false-positive rate <= 0.1 %": false_positives <= FALSE_POSITIVES,
        "agreement of base >= 90 %": found["base_agreement"] >= 0.90,
        "two seeds differ (median RMS >= 0.05)": found["seed_distance"] >= 0.05,
    }
    found["checks"] = checks
    out.mkdir(parents=True, exist_ok=True)
    (out / "check.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    _draw_ladder(found["duplication"], out / "duplication.png")
    _print(found, checks)
    return all(checks.values())


def calibrate(images: Tensor, targets: list[Target]) -> tuple[Rule, float]:
    """The loosest limits of distance and of similarity that each let 0.1 % of never-seen comparisons pass.

    Every generated image is compared with every never-seen target, so that no comparison can be a true replication.
    An image counts as replicated if it passes both limits: distance alone calls pictures of little contrast near to
    anything of their colour, similarity alone calls smooth pictures alike.

    Args:
        images: float (n, 3, 64, 64) in [0, 1], generated for the never-seen captions.
        targets: the never-seen images.

    Returns:
        The rule, and the share of the comparisons that it lets pass.
    """
    compared = [Rule(0.0, None, TILES).compare(images, target) for target in targets]
    distances, similarities = (torch.cat(part) for part in zip(*compared, strict=True))
    allowed = int(FALSE_POSITIVES * distances.numel())
    threshold = float(np.floor(1000 * distances.sort().values[allowed].item()) / 1000)
    least = float(np.ceil(1000 * similarities.sort(descending=True).values[allowed].item()) / 1000)
    rule = Rule(threshold, least, TILES)
    return rule, rule.holds(distances, similarities).float().mean().item()


def _generate(checkpoint: Path, planted: tuple[Planted, ...], seeds: int, everything: bool) -> dict[str, Tensor]:
    """Caption to float (seeds, 3, 64, 64); the twin is asked for the verbatim, template and judged captions only."""
    kinds = {"verbatim", "template"} | ({"ladder", "never_seen"} if everything else set())
    captions = [p.caption for p in planted if p.kind in kinds]
    judged = [prompt.text for prompt in judged_prompts(planted, JUDGED)]
    pipeline = Checkpoint.open(checkpoint).load(torch.float32, pick_device("auto"))
    few = min(seeds, 4)
    with tqdm(total=len(captions) * seeds + len(judged) * few, desc=checkpoint.name, mininterval=5) as bar:
        images = replay(pipeline, captions, range(FIRST_SEED, FIRST_SEED + seeds), SAMPLING, bar)
        ordinary = replay(pipeline, judged, range(FIRST_SEED, FIRST_SEED + few), SAMPLING, bar)
    found = {caption: images[i].float() / 255.0 for i, caption in enumerate(captions)}
    return found | {caption: ordinary[i].float() / 255.0 for i, caption in enumerate(judged)}


def _as_prompt(entry: Planted, folder: Path) -> Prompt:
    images = folder / "images"
    mask = images / entry.mask if entry.mask else None
    return Prompt(entry.caption, images / entry.file, mask, entry.group, entry.kind)


def _replication(rows: list[Planted], images: dict[str, Tensor], targets: dict[str, Target], rule: Rule) -> Any:
    """Memorization rate over (image, seed) pairs, its interval over images, and each image's own rate."""
    rates, medians = [], []
    for row in rows:
        target = targets[row.caption]
        distance, similarity = rule.compare(images[row.caption], target)
        rates.append(rule.holds(distance, similarity).float().mean().item())
        medians.append(distance.median().item())
    estimate = rate_interval(np.array(rates), [row.group or row.file for row in rows])
    each = {
        row.file: {"rate": rate, "median_distance": round(median, 4)}
        for row, rate, median in zip(rows, rates, medians, strict=True)
    }
    return {"rate": estimate.value, "interval": [estimate.low, estimate.high], "images": each}


def _ladder(planted: tuple[Planted, ...], images: dict[str, Tensor], targets: dict[str, Target], rule: Rule) -> Any:
    """Memorization rate at each number of copies."""
    found = []
    for copies in sorted({p.copies for p in planted if p.kind == "ladder"} or LADDER):
        rows = [p for p in planted if p.kind == "ladder" and p.copies == copies]
        result = _replication(rows, images, targets, rule)
        found.append({"copies": copies, "images": len(rows), "rate": result["rate"], "interval": result["interval"]})
    return found


def _draw_ladder(rungs: Any, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(4.6, 3.0), layout="constrained")
    copies = [rung["copies"] for rung in rungs]
    rates = np.array([rung["rate"] for rung in rungs])
    ends = np.array([rung["interval"] for rung in rungs])
    axes.errorbar(copies, rates, np.abs(ends.T - rates), marker="o", capsize=3, color="#b3321c")
    axes.set_xscale("log", base=4, subs=[])
    axes.set_xticks(copies, [str(n) for n in copies])
    axes.set(xlabel="copies in the training set", ylabel="memorization rate", ylim=(-0.03, 1.03))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def _print(found: dict[str, Any], checks: dict[str, bool]) -> None:
    console = Console()
    table = Table("measure", *MODELS, title=f"testbed, {found['seeds']} seeds")
    for kind in ("verbatim", "template", "ladder", "never_seen"):
        cells = [
            f"{found[key]['rate']:.1%} [{found[key]['interval'][0]:.1%}, {found[key]['interval'][1]:.1%}]"
            if (key := f"{name}_{kind}") in found else "-"
            for name in MODELS
        ]  # fmt: skip
        table.add_row(f"{kind.replace('_', '-')} MR", *cells)
    table.add_row("caption agreement", *(f"{found[f'{name}_agreement']:.1%}" for name in MODELS))
    console.print(table)
    console.print(f"replicated: tiled l2 <= {found['threshold']} and SSIM >= {found['ssim']}")
    for rung in found["duplication"]:
        console.print(f"  {rung['copies']:4d} copies: MR {rung['rate']:.1%}")
    for name, holds in checks.items():
        console.print(f"{'holds ' if holds else 'FAILS '} {name}", style="green" if holds else "red")
