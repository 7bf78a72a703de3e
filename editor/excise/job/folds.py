"""What an edit is fitted on in one fold: all located groups of memorized prompts but the one that is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.diffusion.patching import Change
from excise.diffusion.sites import Site
from excise.edits import method
from excise.job.grids import Candidate
from excise.mathematics.column_energy import ColumnEnergy
from excise.mathematics.contrast import scores_of
from excise.mathematics.statistics import STATISTICS, Statistic
from excise.mathematics.wanda import vote
from excise.recipe import Locate
from excise.run.layout import Run
from excise.run.material import RunMaterial
from excise.run.statistics import StatisticsFile, contrast_of
from excise.stages.locate import select


@dataclass(frozen=True, kw_only=True)
class FoldMaterial(RunMaterial):
    """Follows `excise.edits.Material`; located and summed up from statistics when it is asked for."""

    locate: Locate
    groups: tuple[int, ...]
    """Those of the memorized prompts that it may see."""

    @classmethod
    def of_fold(
        cls,
        run: Run,
        candidate: Candidate,
        base: Checkpoint,
        groups: tuple[int, ...],
        name: str,
        before: Mapping[str, Change],
    ) -> FoldMaterial:
        """Material for one of an edit's methods, after those before it, from a run that is collected."""
        return cls(
            run=run,
            settings=candidate.edit.settings(name),
            sites=base.sites(candidate.sites),
            needs=method(name).NEEDS,
            contrast=contrast_of(candidate.locate),
            rows=candidate.locate.rows,
            base=base,
            before=before,
            locate=candidate.locate,
            groups=groups,
        )

    def _mask(self, site: Site) -> Tensor:
        weight = site.matrix(self.base.read(site.tensor))
        return mask_for(self.locate, self._statistics, self.groups, site, weight)

    def _total(self, kind: str, name: str, site: Site) -> Statistic:
        if name != "memorized":
            return super()._total(kind, name, site)
        read = self._statistics.read
        return STATISTICS[kind].merge([read(kind, name, group, self.rows, site.name) for group in self.groups])


def mask_for(
    settings: Locate, statistics: StatisticsFile, groups: tuple[int, ...], site: Site, weight: Tensor
) -> Tensor:
    """The mask located on the pooled memorized ``groups``, by the stages' own functions: ``(outputs, neurons)``."""
    energies = statistics.energies("memorized", settings.rows, site.name)
    (contrast,) = statistics.energies(contrast_of(settings), settings.rows, site.name)
    scores = scores_of(ColumnEnergy.merge([energies[group] for group in groups]), contrast)
    return vote(select(settings, weight, scores, site), settings.vote)
