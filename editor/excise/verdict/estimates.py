"""The statistics that a decision rests on: from measures of every image to numbers with intervals over prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from excise.mathematics import intervals
from excise.mathematics.intervals import difference_interval, mean_interval, rate_interval, ratio_interval
from excise.measures.drift import edit_distances, seed_distances
from excise.measures.identification import identified, rivals_of
from excise.measures.membership import certify
from excise.measures.replication import Rule, Target
from excise.measures.sscd import embed
from excise.measures.sscd import similarity as sscd_similarity
from excise.prompts.prompt import Prompt
from excise.verdict.measured import Measured
from excise.verdict.models import Agreement, Estimate, FalsePositives, Membership, Replication

COMPARED = 32
"""Never-seen images that each image made for a never-seen prompt is compared with, its own included."""

Agrees = Sequence[Sequence[bool] | None]
"""Whether the judge agrees, by prompt and seed; None for a prompt without a label."""


def clusters_of(prompts: Sequence[Prompt]) -> list[str]:
    """What each prompt is evidence about: its template, else its training image, else itself."""
    return [f"group {p.group}" if p.group else f"image {p.image}" if p.image else f"prompt {p.text}" for p in prompts]


def measure_images(
    images: Iterable[Tensor],
    targets: Sequence[Target],
    clusters: Sequence[str],
    rule: Rule,
    sscd: nn.Module | None,
    device: torch.device,
) -> Measured:
    """Distance, SSIM and SSCD similarity of every image to its prompt's training image, and if that is the nearest.

    Args:
        images: for each prompt float ``(seeds, 3, height, width)`` in [0, 1].
        targets: one for each prompt.
        clusters: of each prompt; training images of one cluster are not told apart.
        rule: how many tiles there are.
        sscd: None leaves its similarity out.
        device: where ``sscd`` is.
    """
    distances, similarities, features = [], [], []
    nearest: list[tuple[bool, ...]] = []
    for i, (made, target) in enumerate(zip(images, targets, strict=True)):
        distance, similarity = rule.compare(made, target)
        distances.append(_listed(distance))
        similarities.append(_listed(similarity))
        if rivals := [targets[other] for other in rivals_of(i, clusters)]:
            nearest.append(tuple(identified(made, target, rivals, rule).tolist()))
        if sscd is not None:
            found = embed(sscd, torch.cat([made, target.image[None]]), device)
            features.append(_listed(sscd_similarity(found[:-1], found[-1])))
    return Measured(
        distance=tuple(distances),
        ssim=tuple(similarities),
        identified=tuple(nearest) or None,
        sscd=tuple(features) if sscd is not None else None,
    )


def replication(
    measured: Measured, rule: Rule, clusters: Sequence[str], seed_diversity: Estimate | None
) -> Replication:
    """One question of one model."""
    distance, similarities = np.array(measured.distance), np.array(measured.ssim)  # (prompts, seeds)
    hits = rule.holds(distance, similarities)
    rate, ever = rate_interval(hits.mean(axis=1), clusters), rate_interval(hits.any(axis=1), clusters)
    sscd = measured.sscd
    known = None
    if measured.identified is not None:
        known = rate_interval(np.array(measured.identified).mean(axis=1), clusters)
    return Replication(
        prompts=distance.shape[0],
        clusters=len(set(clusters)),
        seeds=distance.shape[1],
        memorization_rate=rounded(rate.value),
        interval=ends(rate),
        images_ever_replicated=rounded(ever.value),
        images_ever_replicated_interval=ends(ever),
        median_distance=rounded(np.median(distance)),
        smallest_distance=rounded(distance.min()),
        mean_ssim=rounded(similarities.mean()),
        median_sscd=rounded(np.median(sscd)) if sscd is not None else None,
        largest_sscd=rounded(np.max(sscd)) if sscd is not None else None,
        identification_rate=rounded(known.value) if known else None,
        identification_interval=ends(known) if known else None,
        identification_chance=_chance(clusters) if known else None,
        seed_diversity=seed_diversity,
    )


def _chance(clusters: Sequence[str]) -> float:
    """The identification rate of a model that knows nothing of the set."""
    return rounded(np.mean([1 / (1 + len(rivals_of(i, clusters))) for i in range(len(clusters))]))


def false_positives(
    images: Iterable[Tensor], targets: Sequence[Target], rule: Rule, clusters: Sequence[str]
) -> FalsePositives:
    """How often images made for never-seen prompts are said to replicate never-seen images.

    Each image is compared with its own prompt's never-seen image and with the next ones in the table's order, up to
    `COMPARED` in all.
    """
    count = len(targets)
    hits: list[list[float]] = [[] for _ in targets]
    own, smallest, seeds = [], np.inf, 0
    for i, made in enumerate(images):
        seeds = len(made)
        for offset in range(min(count, COMPARED)):
            target = targets[(i + offset) % count]
            distance, similarity = rule.compare(made, target)
            found = rule.holds(distance, similarity)
            smallest = min(smallest, float(distance.min()))
            hits[(i + offset) % count] += found.tolist()
            if offset == 0:
                own.append(float(found.float().mean()))
    rate, own_rate = rate_interval([np.mean(row) for row in hits], clusters), rate_interval(own, clusters)
    return FalsePositives(
        prompts=count,
        seeds=seeds,
        pairs=sum(len(row) for row in hits),
        false_positive_rate=rounded(rate.value),
        interval=ends(rate),
        own_rate=rounded(own_rate.value),
        own_interval=ends(own_rate),
        smallest_distance=rounded(smallest),
    )


def seed_diversity(images: Iterable[Tensor], clusters: Sequence[str]) -> Estimate | None:
    """Mean distance between two seeds of a prompt; None with one seed."""
    distances = [seed_distances(made[None]).item() for made in images if len(made) > 1]
    return estimate(mean_interval(distances, clusters)) if distances else None


def drift(images: Iterable[Tensor], base: Iterable[Tensor], clusters: Sequence[str]) -> Estimate | None:
    """How far a model's images are from the base's, in distances between the base's seeds; None if those are 0."""
    moved, apart = [], []
    for made, before in zip(images, base, strict=True):
        moved.append(edit_distances(made[None], before[None]).item())
        apart.append(seed_distances(before[None]).item())
    ratio = ratio_interval(moved, apart, clusters)
    return estimate(ratio) if ratio is not None else None


def caption_agreement(agrees: Agrees, base: Agrees | None, clusters: Sequence[str]) -> Agreement | None:
    """Agreement of one model; ``base`` is None for the base itself. None without any label."""
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
    return Agreement(
        rate=rounded(rate.value),
        interval=ends(rate),
        prompts=len(known),
        seeds=len(known[0]),
        prompts_without_label=len(agrees) - len(known),
        drop=drop,
    )


def membership(scores: Sequence[float], reference: Sequence[float], rate: float) -> Membership:
    """What an audit tells of a question's images.

    Args:
        scores: of each image.
        reference: of never-seen images.
        rate: of false discoveries.
    """
    found = certify(scores, reference, rate)
    called = rate_interval(found.members.astype(float).tolist(), [str(number) for number in range(len(scores))])
    return Membership(
        scores=tuple(scores),
        reference=tuple(reference),
        called=rounded(called.value),
        interval=ends(called),
        pairs=rounded(found.area),
        together=float(f"{found.together:.3g}"),
    )


def estimate(found: intervals.Estimate) -> Estimate:
    """As verdict.json holds it."""
    return Estimate(value=rounded(found.value), interval=ends(found))


def ends(found: intervals.Estimate) -> tuple[float, float] | None:
    """The interval's ends; None where one case alone gives none."""
    return None if np.isnan(found.low) else (rounded(found.low), rounded(found.high))


def rounded(value: float | np.floating[Any]) -> float:
    """A number as verdict.json holds it: six decimals, far below any interval's width."""
    return round(float(value), 6)


def _listed(values: Tensor) -> tuple[float, ...]:
    return tuple(rounded(value) for value in values.tolist())
