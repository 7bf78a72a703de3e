"""What a run's folder has for an edit to be fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain

from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.diffusion.load import pick_device, pick_dtype
from excise.diffusion.patching import Change
from excise.diffusion.sites import Site
from excise.edits import Needs, Training, method
from excise.errors import ExciseError
from excise.mathematics.statistics import STATISTICS, Statistic
from excise.measures.replication import Rule
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
    before: Mapping[str, Change] = field(default_factory=dict)
    """What the edits before this one make of the base's tensors, by name."""

    @classmethod
    def of(
        cls,
        run: Run,
        recipe: Recipe,
        base: Checkpoint,
        name: str,
        settings: Section | None,
        trained: Training | None = None,
        before: Mapping[str, Change] | None = None,
    ) -> RunMaterial:
        """Material for the method of a name, with its section of the recipe, after edits before it."""
        return cls(
            run=run,
            settings=settings,
            sites=base.sites(recipe.collect.sites),
            needs=method(name).NEEDS,
            contrast=contrast_of(recipe.locate),
            rows=recipe.locate.rows,
            base=base,
            trained=replace(trained, before=before or {}) if trained else None,
            before=before or {},
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
        """The weight as the edits before left it: ``(outputs, neurons)``.

        Raises:
            KeyError: the method does not declare that it needs weights.
        """
        if not self.needs.weights:
            raise KeyError("the method's NEEDS do not name weights")
        value = self.base.read(site.tensor)
        return site.matrix(self.before[site.tensor](value) if site.tensor in self.before else value)

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


def materials(
    run: Run, recipe: Recipe, base: Checkpoint, trained: Training | None = None
) -> Callable[[str, Mapping[str, Change]], RunMaterial]:
    """Gives the material of each of the recipe's methods, by its name and what the edits before it change."""

    def material(name: str, before: Mapping[str, Change]) -> RunMaterial:
        return RunMaterial.of(run, recipe, base, name, recipe.edit.settings(name), trained, before)

    return material


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
        rule=Rule.of(recipe.validate_),
        state=run.partial("edit"),
        counting=progress.counting,
    )
