"""What a run's folder has for an edit to be fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain

from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.diffusion.load import pick_device, pick_dtype
from excise.diffusion.sites import Site
from excise.edits import Needs, Training, method
from excise.errors import ExciseError
from excise.mathematics.statistics import STATISTICS, Statistic
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe, Section
from excise.run.layout import Run
from excise.run.progress import Progress
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
    trained: Training | None = None
    """What a training takes, where the method trains and there is a job that it is trained in."""

    @classmethod
    def of(
        cls,
        run: Run,
        recipe: Recipe,
        base: Checkpoint,
        name: str,
        settings: Section | None,
        trained: Training | None = None,
    ) -> RunMaterial:
        """Material for the method of a name, with its section of the recipe."""
        return cls(
            run=run,
            settings=settings,
            sites=base.sites(recipe.collect.sites),
            needs=method(name).NEEDS,
            contrast=contrast_of(recipe.locate),
            rows=recipe.locate.rows,
            base=base,
            trained=trained,
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

    @property
    def training(self) -> Training:
        """What a training takes.

        Raises:
            KeyError: the method does not declare that it trains.
            ExciseError: there is no job that it could be trained in.
        """
        if not self.needs.training:
            raise KeyError("the method's NEEDS do not name training")
        if self.trained is None:
            raise ExciseError(
                "edit.method: an edit that is trained is not fitted again; take the run's edited checkpoint"
            )
        return self.trained


def training_in(run: Run, recipe: Recipe, base: Checkpoint, sets: PromptSets, progress: Progress) -> Training:
    """What a training in a job takes: of its prompts, the sets that locating may see, and no other."""
    device = pick_device(recipe.model.device)
    control = tuple(chain.from_iterable(sets.control))
    beside = bool(sets.neighbours)  # then the control is made of neighbours too
    return Training(
        base=base,
        load=partial(base.load, pick_dtype(recipe.model.dtype, device), device),
        memorized=tuple(chain.from_iterable(sets.located)),
        ordinary=sets.contrast if beside else (*control, *sets.contrast),
        neighbours=(*control, *sets.neighbours) if beside else (),
        sampling=recipe.sampling,
        side=base.side(recipe.sampling.size),
        state=run.partial("edit"),
        counting=progress.counting,
    )
