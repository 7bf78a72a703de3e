"""What a run's folder has for an edit to be fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.diffusion.sites import Site
from excise.edits import Needs, method
from excise.mathematics.statistics import STATISTICS, Statistic
from excise.recipe import Recipe, Section
from excise.run.layout import Run
from excise.run.statistics import RETAINED, StatisticsFile, contrast_of
from excise.run.subspace import read_masks


@dataclass(frozen=True)
class RunMaterial:
    """Follows `excise.edits.Material`: gives what a method declared, and is read from disk when it is asked for."""

    run: Run
    settings: Section | None
    sites: tuple[Site, ...]
    needs: Needs
    contrast: str
    """The set that the recipe contrasts memorized prompts with: ``contrast`` or ``empty``."""
    rows: str
    """The recipe's ``locate.rows``."""
    base: Checkpoint

    @classmethod
    def of(cls, run: Run, recipe: Recipe, base: Checkpoint, name: str, settings: Section | None) -> RunMaterial:
        """Material for the method of a name, with its section of the recipe."""
        return cls(
            run=run,
            settings=settings,
            sites=base.sites(recipe.collect.sites),
            needs=method(name).NEEDS,
            contrast=contrast_of(recipe.locate),
            rows=recipe.locate.rows,
            base=base,
        )

    @cached_property
    def _masks(self) -> dict[str, Tensor]:
        return read_masks(self.run, self.sites)

    @cached_property
    def _statistics(self) -> StatisticsFile:
        return StatisticsFile(self.run)

    def mask(self, site: Site) -> Tensor:
        """The located entries: boolean ``(outputs, neurons)``.

        Raises:
            KeyError: the method does not declare that it needs the subspace.
        """
        if not self.needs.subspace:
            raise KeyError("the method's NEEDS do not name the subspace")
        return self._mask(site)

    def _mask(self, site: Site) -> Tensor:
        return self._masks[site.name]

    def statistic(self, kind: str, prompts: str, site: Site) -> Statistic:
        """Sums over all groups of ``memorized`` prompts, of the ``contrast``, or of all that is to be ``retained``.

        Raises:
            KeyError: the method does not declare that it needs them.
        """
        if kind not in self.needs.statistics or (prompts == "retained" and not self.needs.retained):
            raise KeyError(f"the method's NEEDS do not name the statistic {kind!r} of {prompts} prompts")
        if prompts == "retained":
            names = [name for name in RETAINED if self._statistics.groups(name)]
            return STATISTICS[kind].merge([self._total(kind, name, site) for name in names])
        return self._total(kind, self.contrast if prompts == "contrast" else prompts, site)

    def _total(self, kind: str, name: str, site: Site) -> Statistic:
        return self._statistics.total(kind, name, self.rows, site.name)

    def weight(self, site: Site) -> Tensor:
        """The base's weight: ``(outputs, neurons)``.

        Raises:
            KeyError: the method does not declare that it needs weights.
        """
        if not self.needs.weights:
            raise KeyError("the method's NEEDS do not name weights")
        return site.matrix(self.base.read(site.tensor))
