"""Identification: is a picture's own training image the nearest of its set? It needs no threshold, and sees ghosts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from excise.measures.replication import Rule, Target

COMPARED = 32
"""Training images that each image is compared with at most, its own included."""


def likeness(images: Tensor, target: Target, rule: Rule) -> Tensor:
    """How much each image is like a target: structural similarity less tiled l2 distance, the rule's two measures.

    Args:
        images: float (images, 3, height, width) in [0, 1].
        target: a training image, with the mask of what counts in it.
        rule: how many tiles there are.

    Returns:
        float32 (images,), in [-2, 1]; 1 is equal.
    """
    distance, similarity = rule.compare(images, target)
    return similarity - distance


def rivals_of(prompt: int, clusters: Sequence[str]) -> list[int]:
    """The training images that the one of a prompt is compared with: the next ones of other clusters, in a circle.

    Images of one template are each other's layout, so none of them is a rival of another.
    """
    around = [(prompt + step) % len(clusters) for step in range(1, len(clusters))]
    return [other for other in around if clusters[other] != clusters[prompt]][: COMPARED - 1]


def identified(images: Tensor, own: Target, rivals: Sequence[Target], rule: Rule) -> Tensor:
    """Whether no rival is nearer to an image than its own training image; a tie counts as identified.

    Args:
        images: float (images, 3, height, width) in [0, 1], of one prompt.
        own: the prompt's training image.
        rivals: other training images of the set, at least one.
        rule: how many tiles there are.

    Returns:
        bool (images,). A model that knows nothing of the set identifies one in ``1 + len(rivals)``.

    Raises:
        ValueError: no rival: the nearest of one is always itself.
    """
    if not rivals:
        raise ValueError("no other training image to compare with; the nearest of one says nothing")
    nearest = torch.stack([likeness(images, rival, rule) for rival in rivals]).amax(dim=0)
    found: Tensor = likeness(images, own, rule) >= nearest
    return found
