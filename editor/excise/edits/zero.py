"""zero: the located weights become zero (Chavhan et al. 2024, arXiv 2406.18566): ``W <- W ⊙ (1 - mask)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from excise.diffusion.sites import Site
from excise.edits.base import Edit, Material, Needs, SiteEdit

NEEDS = Needs(subspace=True)
ZEROES = True


@dataclass(frozen=True)
class Zero(SiteEdit):
    """Sets masked entries to zero."""

    masks: Mapping[Site, Tensor]
    """Boolean ``(outputs, neurons)`` of each site that it changes."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Those with a mask."""
        return tuple(self.masks)

    def apply(self, site: Site, weight: Tensor) -> Tensor:
        """The weight with zeros in it."""
        return weight.masked_fill(self.masks[site].to(weight.device), 0.0)

    def zeroed(self, site: Site) -> int:
        """How many entries the mask has."""
        return int(self.masks[site].sum())


def fit(material: Material) -> Edit:
    """Zero what was located; a site of which nothing was located is not changed."""
    masks = {site: material.mask(site) for site in material.sites}
    return Zero({site: mask for site, mask in masks.items() if mask.any()})
