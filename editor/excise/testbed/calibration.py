"""The replication rule that never-seen images give, and the sampler settings that a testbed is checked with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from excise.measures.replication import Rule, Target
from excise.recipe import Sampling

SAMPLING = Sampling(steps=10, guidance=3.0, batch=64)
"""The testbed's default sampler settings; its recipes use the same."""
FALSE_POSITIVES = 1e-3
TILES = 4


def calibrate(images: Tensor, targets: list[Target]) -> tuple[Rule, float]:
    """The loosest limits of distance and of similarity that together let 0.1 % of never-seen comparisons pass.

    Every generated image is compared with every never-seen target, so that no comparison can be a true replication.
    An image counts as replicated if it passes both limits: distance alone calls pictures of little contrast near to
    anything of their colour, similarity alone calls smooth pictures alike. Each of the limits lets the same share of
    the comparisons pass.

    Args:
        images: float (n, 3, 64, 64) in [0, 1], generated for the never-seen captions.
        targets: the never-seen images.

    Returns:
        The rule, and the share of the comparisons that it lets pass.
    """
    compared = [Rule(0.0, None, TILES).compare(images, target) for target in targets]
    distances, similarities = (torch.cat(part) for part in zip(*compared, strict=True))
    places = torch.stack([distances.argsort().argsort(), similarities.argsort(descending=True).argsort()])
    allowed = int(FALSE_POSITIVES * distances.numel())
    place = int(places.max(dim=0).values.sort().values[allowed])  # where the first one too many would pass both
    threshold = float(np.floor(1000 * distances.sort().values[place].item()) / 1000)
    least = float(np.ceil(1000 * similarities.sort(descending=True).values[place].item()) / 1000)
    rule = Rule(threshold, least, TILES)
    return rule, rule.holds(distances, similarities).float().mean().item()
