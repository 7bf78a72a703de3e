"""The control edit: as large as the real one, at random places."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def random_edit(masks: Mapping[str, Tensor], draw: int) -> dict[str, Tensor]:
    """As many entries per site as ``masks`` takes, drawn uniformly; whole columns where it takes whole columns.

    Args:
        masks: site to bool (outputs, neurons).
        draw: number of the control; the same number gives the same edit.
    """
    rng = np.random.default_rng([draw, 0x0E7C15E])
    return {site: _drawn(mask, rng) for site, mask in sorted(masks.items())}


def _drawn(mask: Tensor, rng: np.random.Generator) -> Tensor:
    taken = torch.zeros_like(mask)
    if torch.equal(mask, mask[:1].expand_as(mask)):  # whole columns
        taken[:, torch.from_numpy(rng.permutation(mask.shape[1])[: int(mask[0].sum())])] = True
        return taken
    entries = rng.choice(mask.numel(), int(mask.sum()), replace=False, shuffle=False)
    taken.view(-1)[torch.from_numpy(entries)] = True
    return taken
