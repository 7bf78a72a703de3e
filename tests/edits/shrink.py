"""A method of editing that only the tests know, written as docs/architecture.md says: one file.

It halves the direction of a site's inputs that memorized prompts use most, beside what they are contrasted with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from excise.diffusion.sites import Site
from excise.edits.base import Edit, Material, Needs, SiteEdit
from excise.mathematics.second_moment import SecondMoment, mean_product

NEEDS = Needs(statistics=frozenset({"second_moment"}))
ZEROES = False


@dataclass(frozen=True)
class Shrink(SiteEdit):
    directions: Mapping[Site, Tensor]

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(self.directions)

    def apply(self, site: Site, weight: Tensor) -> Tensor:
        direction = self.directions[site].to(weight)
        return weight - 0.5 * torch.outer(weight @ direction, direction)

    def zeroed(self, site: Site) -> None:
        return None


def fit(material: Material) -> Edit:
    def moments(site: Site, prompts: str) -> Tensor:
        found = material.statistic("second_moment", prompts, site)
        assert isinstance(found, SecondMoment)
        return mean_product(found)

    gaps = {site: moments(site, "memorized") - moments(site, "contrast") for site in material.sites}
    return Shrink({site: torch.linalg.eigh(gap).eigenvectors[:, -1] for site, gap in gaps.items()})
