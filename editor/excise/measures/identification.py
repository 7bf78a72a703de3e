"""Identification: is a picture's own training image the nearest of its set? It needs no threshold, and sees ghosts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from excise.measures.replication import Rule, Target


def likeness(images: Tensor, target: Target, rule: Rule) -> Tensor:
    """How much each image is like a target: structural similarity less tiled l2 distance, the rule's two measures.

    Args:
        images: float (images, 3, height, width) in [0, 1].

    Returns:
        float32 (images,), in [-2, 1]; 1 is equal.
    """
    distance, similarity = rule.compare(images, target)
    return similarity - distance


def identified(images: Tensor, targets: Sequence[Target], own: Tensor, rule: Rule) -> Tensor:
    """Whether no other training image of the set is nearer to an image than its own; a tie counts as identified.

    Args:
        images: float (images, 3, height, width) in [0, 1].
        targets: the training images of the set, at least two.
        own: int64 (images,): which of the targets each image was asked for.

    Returns:
        bool (images,).

    Raises:
        ValueError: fewer than two targets: the nearest of one is always itself.
    """
    if len(targets) < 2:
        raise ValueError(f"{len(targets)} training image in the set; the nearest of one says nothing")
    near = torch.stack([likeness(images, target, rule) for target in targets], dim=1)  # (images, targets)
    found: Tensor = near.gather(1, own[:, None])[:, 0] >= near.amax(dim=1)
    return found


def chance(targets: int) -> float:
    """The identification rate of a model that knows nothing of the set."""
    return 1.0 / targets
