"""random: the control edit, as large at every site as the located mask, at random places."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from excise.edits.base import Edit, Material, Needs
from excise.edits.zero import Zero
from excise.recipe import RandomEdit

NEEDS = Needs(subspace=True)
ZEROES = True
_STREAM = 0x0E7C15E
"""Keeps these draws apart from every other use of small seeds."""


def fit(material: Material) -> Edit:
    """As many entries per site as were located, drawn uniformly; whole columns where whole columns were located.

    The same ``edit.random.draw`` gives the same edit.
    """
    settings = material.settings
    assert isinstance(settings, RandomEdit)
    rng = np.random.default_rng([settings.draw, _STREAM])
    drawn = {site: _drawn(material.mask(site), rng) for site in sorted(material.sites, key=lambda site: site.name)}
    return Zero({site: drawn[site] for site in material.sites if drawn[site].any()})


def _drawn(mask: Tensor, rng: np.random.Generator) -> Tensor:
    taken = torch.zeros_like(mask)
    if torch.equal(mask, mask[:1].expand_as(mask)):  # whole columns
        taken[:, torch.from_numpy(rng.permutation(mask.shape[1])[: int(mask[0].sum())])] = True
        return taken
    entries = rng.choice(mask.numel(), int(mask.sum()), replace=False, shuffle=False)
    taken.view(-1)[torch.from_numpy(entries)] = True
    return taken
