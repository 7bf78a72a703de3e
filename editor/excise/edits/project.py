"""project: delete directions that memorized prompts use many times as much as kept ones, in closed form.

Of a site's inputs, ``W ← W(I − BAᵀ)``; of its outputs, ``W ← (I − BAᵀ)W``; or, softly, all of the inputs' directions by
how much they are used, ``W ← W Σᵢ bᵢaᵢᵀ/(1 + μλᵢ)``. See `excise.mathematics.directions` for the equations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from excise.diffusion.sites import Site
from excise.edits.base import Edit, Material, Needs, SiteEdit
from excise.errors import ExciseError
from excise.mathematics.directions import (
    Directions,
    blurred,
    deletion_costs,
    directions,
    ridged,
    soft_filter,
)
from excise.mathematics.second_moment import SecondMoment, mean_product
from excise.recipe import ProjectEdit

NEEDS = Needs(statistics=frozenset({"second_moment"}), retained=True, weights=True)
ZEROES = False
Factor = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Project(SiteEdit):
    """Multiplies each weight by a matrix of its own, in float64."""

    factors: Mapping[Site, Factor]
    """``(outputs, neurons)`` float64 on the CPU to the same, for each site that it changes."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Those of which something is deleted."""
        return tuple(self.factors)

    def apply(self, site: Site, weight: Tensor) -> Tensor:
        """The weight without the directions."""
        return self.factors[site](weight.detach().to("cpu", torch.float64)).to(weight)

    def zeroed(self, site: Site) -> None:
        """None: it is dense."""
        return None


@dataclass(frozen=True)
class Spectrum:
    """A site's directions, and what each would cost."""

    site: Site
    found: Directions
    """Of its inputs, or of its outputs."""
    costs: Tensor
    """``(n,)``: as `deletion_costs`, as shares of the mean square of the site's outputs on kept prompts."""


def fit(material: Material) -> Edit:
    """Delete what the settings choose; a site of which nothing is chosen is not changed.

    Raises:
        ExciseError: moments that are not finite; more directions asked for than a site has; nothing chosen at all.
    """
    settings = material.settings
    assert isinstance(settings, ProjectEdit)
    return Project(deletions(material, settings))


def deletions(material: Material, settings: ProjectEdit) -> dict[Site, Factor]:
    """What becomes of the weight of each site of which something is deleted; as `fit`."""
    if settings.filter is not None:
        return {site: _multiplied(_filter(material, settings, site), settings.side) for site in material.sites}
    spectra = [_spectrum(material, settings, site) for site in material.sites]
    chosen = {each.site: (each, count) for each in spectra if (count := _count(each, settings))}
    if not chosen:
        most = max(float(each.found.values[0]) for each in spectra)
        raise ExciseError(
            f"{settings.KEY}: no direction is used as much more by memorized prompts as asked for (the most: "
            f"{most:.3g} times); lower {settings.KEY}.threshold, or raise {settings.KEY}.cost"
        )
    return {site: _without(each.found.first(count), settings.side) for site, (each, count) in chosen.items()}


def _filter(material: Material, settings: ProjectEdit, site: Site) -> Tensor:
    assert settings.filter is not None
    memorized, retained = _moments(material, settings, site)
    with _explained(settings, site):
        return soft_filter(memorized, _metric(retained, settings), settings.filter)


def _spectrum(material: Material, settings: ProjectEdit, site: Site) -> Spectrum:
    memorized, retained = _moments(material, settings, site)
    with _explained(settings, site):
        found = directions(memorized, _metric(retained, settings))
    weight = material.weight(site).double()
    through = weight if settings.side == "inputs" else torch.eye(len(retained), dtype=torch.float64)
    energy = torch.einsum("on,nm,om->", through, retained, through)
    return Spectrum(site, found, deletion_costs(found, through, retained) / energy)


def _moments(material: Material, settings: ProjectEdit, site: Site) -> tuple[Tensor, Tensor]:
    """Of what the site reads, or says, for memorized prompts and for those to be kept."""
    moments = [moment_of(material, prompts, site, settings.KEY) for prompts in ("memorized", "retained")]
    if settings.side == "outputs":
        weight = material.weight(site).double()
        moments = [weight @ moment @ weight.T for moment in moments]
    memorized, retained = moments
    return memorized, retained


def _metric(retained: Tensor, settings: ProjectEdit) -> Tensor:
    return blurred(ridged(retained, settings.ridge), settings.obliqueness)


@contextmanager
def _explained(settings: ProjectEdit, site: Site) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ExciseError(f"{settings.KEY}: {site.name}: {error}; raise {settings.KEY}.ridge") from error


def moment_of(material: Material, prompts: str, site: Site, key: str) -> Tensor:
    """E[x xᵀ] of a site's inputs over a set of prompts: ``(neurons, neurons)`` float64.

    Raises:
        ExciseError: it is not finite; names ``key``, the method's section of the recipe.
    """
    found = material.statistic("second_moment", prompts, site)
    assert isinstance(found, SecondMoment)
    moment = mean_product(found)
    if not bool(moment.isfinite().all()):
        raise ExciseError(
            f"{key}: the inputs' second moments at {site.name} over {prompts} prompts are not finite; set "
            "model.dtype = 'float32' and run again"
        )
    return moment


def _count(spectrum: Spectrum, settings: ProjectEdit) -> int:
    """How many of a site's directions go, largest eigenvalue first."""
    values = spectrum.found.values
    if settings.directions is not None:
        if settings.directions > len(values):
            raise ExciseError(
                f"{settings.KEY}.directions = {settings.directions}: {spectrum.site.name} has {len(values)} of its "
                f"{settings.side}; ask for fewer"
            )
        return settings.directions
    count = int((values > settings.threshold).sum())
    if settings.cost is not None:
        count = min(count, int((spectrum.costs <= settings.cost).cumprod(0).sum()))
    return count


def _without(found: Directions, side: str) -> Factor:
    if side == "inputs":
        return lambda weight: weight - (weight @ found.patterns) @ found.readouts.T
    return lambda weight: weight - found.patterns @ (found.readouts.T @ weight)


def _multiplied(matrix: Tensor, side: str) -> Factor:
    return (lambda weight: weight @ matrix) if side == "inputs" else (lambda weight: matrix @ weight)
