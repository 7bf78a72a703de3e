"""From generated images to numbers: per image first, then per prompt set, with intervals over prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from editor.mathematics.intervals import Estimate, difference_interval, mean_interval, rate_interval, ratio_interval
from editor.measures.drift import edit_distances, seed_distances
from editor.measures.replication import Target, replicates, ssim, tiled_l2
from editor.measures.sscd import embed, similarity
from editor.prompts import Prompt

NEIGHBOURS = 32
"""Never-seen images that each image made for a never-seen prompt is compared with, its own included."""


def clusters_of(prompts: Sequence[Prompt]) -> list[str]:
    """What each prompt is evidence about: its template, else its training image, else itself."""
    return [f"group {p.group}" if p.group else f"image {p.image}" if p.image else f"prompt {p.text}" for p in prompts]


def stored_images(path: Path) -> Iterator[Tensor]:
    """The images of one prompt after the other, float32 (seeds, 3, height, width) in [0, 1], from a stored set."""
    with safe_open(path, framework="pt") as file:
        images = file.get_slice("images")
        for prompt in range(images.get_shape()[0]):
            yield images[prompt].float() / 255.0


def per_image(path: Path, targets: Sequence[Target], tiles: int, sscd: nn.Module | None, device: torch.device) -> Any:
    """Distance, SSIM and SSCD similarity of every stored image to its prompt's training image.

    Returns:
        ``{"distance": ..., "ssim": ..., "sscd": ...}``, each a list over prompts of lists over seeds; ``sscd`` is None
        without a model.
    """
    found: dict[str, Any] = {"distance": [], "ssim": [], "sscd": [] if sscd is not None else None}
    for images, target in zip(stored_images(path), targets, strict=True):
        found["distance"].append(_listed(tiled_l2(images, target.image, target.mask, tiles)))
        found["ssim"].append(_listed(ssim(images, target.image, target.mask)))
        if sscd is not None:
            features = embed(sscd, torch.cat([images, target.image[None]]), device)
            found["sscd"].append(_listed(similarity(features[:-1], features[-1])))
    return found


def replication(measured: Any, threshold: float, least: float | None, clusters: Sequence[str]) -> dict[str, Any]:
    """One set of one arm as docs/verdict.md has it (without ``seed_diversity``), from `per_image`."""
    distance, similarities = np.array(measured["distance"]), np.array(measured["ssim"])  # (prompts, seeds)
    hits = replicates(distance, similarities, threshold, least)
    rate, ever = rate_interval(hits.mean(axis=1), clusters), rate_interval(hits.any(axis=1), clusters)
    sscd = measured["sscd"]
    return {
        "prompts": distance.shape[0],
        "clusters": len(set(clusters)),
        "seeds": distance.shape[1],
        "memorization_rate": rounded(rate.value),
        "interval": ends(rate),
        "images_ever_replicated": rounded(ever.value),
        "images_ever_replicated_interval": ends(ever),
        "median_distance": rounded(np.median(distance)),
        "smallest_distance": rounded(distance.min()),
        "mean_ssim": rounded(similarities.mean()),
        "median_sscd": rounded(np.median(sscd)) if sscd is not None else None,
        "largest_sscd": rounded(np.max(sscd)) if sscd is not None else None,
    }


def false_positives(
    path: Path, targets: Sequence[Target], clusters: Sequence[str], tiles: int, threshold: float, least: float | None
) -> dict[str, Any]:
    """How often images made for never-seen prompts are said to replicate never-seen images.

    Each image is compared with its own prompt's never-seen image and with the next ones in the table's order, up to
    `NEIGHBOURS` in all.
    """
    count = len(targets)
    hits: list[list[float]] = [[] for _ in targets]
    own, smallest, seeds = [], np.inf, 0
    for i, images in enumerate(stored_images(path)):
        seeds = len(images)
        for offset in range(min(count, NEIGHBOURS)):
            target = targets[(i + offset) % count]
            distance = tiled_l2(images, target.image, target.mask, tiles)
            found = replicates(distance, ssim(images, target.image, target.mask), threshold, least)
            smallest = min(smallest, float(distance.min()))
            hits[(i + offset) % count] += found.tolist()
            if offset == 0:
                own.append(float(found.float().mean()))
    rate, own_rate = rate_interval([np.mean(row) for row in hits], clusters), rate_interval(own, clusters)
    return {
        "prompts": count,
        "seeds": seeds,
        "pairs": sum(len(row) for row in hits),
        "false_positive_rate": rounded(rate.value),
        "interval": ends(rate),
        "own_rate": rounded(own_rate.value),
        "own_interval": ends(own_rate),
        "smallest_distance": rounded(smallest),
    }


def seed_diversity(path: Path, clusters: Sequence[str]) -> dict[str, Any] | None:
    """Mean distance between two seeds of a prompt; None with one seed."""
    distances = [seed_distances(images[None]).item() for images in stored_images(path) if len(images) > 1]
    return estimate(mean_interval(distances, clusters)) if distances else None


def drift(path: Path, base: Path, clusters: Sequence[str]) -> dict[str, Any] | None:
    """How far an arm's images are from the base's, in distances between the base's seeds; None if those are 0."""
    moved, apart = [], []
    for images, before in zip(stored_images(path), stored_images(base), strict=True):
        moved.append(edit_distances(images[None], before[None]).item())
        apart.append(seed_distances(before[None]).item())
    ratio = ratio_interval(moved, apart, clusters)
    return estimate(ratio) if ratio is not None else None


def caption_agreement(
    agrees: Sequence[list[bool] | None], base: Sequence[list[bool] | None] | None, clusters: Sequence[str]
) -> Any:
    """One arm's agreement as docs/verdict.md has it; ``base`` is None for the base itself. None without any label."""
    known = [row for row in agrees if row is not None]
    if not known:
        return None
    clusters = [cluster for cluster, row in zip(clusters, agrees, strict=True) if row is not None]
    per_prompt = [float(np.mean(row)) for row in known]
    drop = None
    if base is not None:
        before = [float(np.mean(row)) for row in base if row is not None]
        drop = estimate(difference_interval(before, per_prompt, clusters))
    rate = rate_interval(per_prompt, clusters)
    return {
        "rate": rounded(rate.value),
        "interval": ends(rate),
        "prompts": len(known),
        "seeds": len(known[0]),
        "prompts_without_label": len(agrees) - len(known),
        "drop": drop,
    }


def estimate(found: Estimate) -> dict[str, Any]:
    """As it stands in verdict.json."""
    return {"value": rounded(found.value), "interval": ends(found)}


def ends(found: Estimate) -> list[float] | None:
    """The interval as ``[low, high]``; None where one case alone gives none."""
    return None if np.isnan(found.low) else [rounded(found.low), rounded(found.high)]


def rounded(value: Any) -> float:
    """A number as it stands in verdict.json: six decimals, far below any interval's width."""
    return round(float(value), 6)


def _listed(values: Tensor) -> list[float]:
    return [rounded(value) for value in values.tolist()]
