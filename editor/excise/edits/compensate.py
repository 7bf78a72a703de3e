"""compensate: drop what was located, or directions, then give back by least squares what kept prompts need of it.

Kept prompts ask for the old responses, memorized ones for those of the weight with a part dropped. The closed form is
in `excise.mathematics.compensation`; it needs second moments alone, of one site at a time.
"""

from __future__ import annotations

from torch import Tensor

from excise.diffusion.sites import Site
from excise.edits.base import Edit, Material, Needs
from excise.edits.project import Factor, Project, deletions, moment_of
from excise.errors import ExciseError
from excise.mathematics.compensation import given_back, given_back_held
from excise.recipe import CompensateEdit

NEEDS = Needs(subspace=True, statistics=frozenset({"second_moment"}), retained=True, weights=True)
ZEROES = False


def fit(material: Material) -> Edit:
    """Say what is dropped; the least squares are solved site by site when the edit is applied.

    Raises:
        ExciseError: as `excise.edits.project.fit`, where directions are dropped. When applied: moments that are not
            finite, or that make no least squares.
    """
    settings = material.settings
    assert isinstance(settings, CompensateEdit)
    if settings.dropped == "directions":
        drops = deletions(material, settings)
    else:
        located = [site for site in material.sites if material.mask(site).any()]
        drops = {site: _without(material, site) for site in located}
    return Project({site: _compensated(material, settings, site, drop) for site, drop in drops.items()})


def _without(material: Material, site: Site) -> Factor:
    return lambda weight: weight.masked_fill(material.mask(site), 0.0)


def _compensated(material: Material, settings: CompensateEdit, site: Site, drop: Factor) -> Factor:
    def compensated(weight: Tensor) -> Tensor:
        retained, memorized = (moment_of(material, name, site, settings.KEY) for name in ("retained", "memorized"))
        rest = drop(weight)
        terms = weight - rest, retained, memorized, settings.importance, settings.ridge
        try:
            back = given_back_held(*terms, material.mask(site)) if settings.held else given_back(*terms)
        except ValueError as error:
            raise ExciseError(f"{settings.KEY}: {site.name}: {error}; raise {settings.KEY}.ridge") from error
        return rest + back

    return compensated
