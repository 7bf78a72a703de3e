"""What an edit is: fitted on what its method declares that it needs, then applied tensor by tensor.

A method is a module with

* ``NEEDS``: a `Needs`;
* ``ZEROES``: whether all that it does to a weight is to set entries to zero, which a stranger can then check;
* ``fit(material: Material) -> Edit``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # nothing heavy is imported by who only asks which methods there are
    from diffusers import DiffusionPipeline
    from torch import Tensor

    from excise.checkpoint import Checkpoint
    from excise.diffusion.patching import Change
    from excise.diffusion.sites import Site
    from excise.mathematics.statistics import Statistic
    from excise.measures.replication import Rule
    from excise.prompts.prompt import Prompt
    from excise.recipe import Sampling, Section


@dataclass(frozen=True)
class Needs:
    """What a method is fitted on, beside its settings."""

    subspace: bool = False
    """The located mask of every site."""
    statistics: frozenset[str] = frozenset()
    """Kinds of statistics (names in `excise.mathematics.statistics.STATISTICS`) of memorized and contrast prompts."""
    retained: bool = False
    """These statistics of all prompts that are to be kept, too: ordinary ones and, where there are some, neighbours."""
    weights: bool = False
    """The weight of every site: the base's, after the edits before."""
    training: bool = False
    """The base itself and the prompts that locating may see: a `Training`."""


class Bar(Protocol):
    """How far a training is, as `excise.run.progress.Bar`."""

    def update(self, n: int) -> object:
        """``n`` more steps are done."""

    def set_postfix_str(self, s: str) -> object:
        """How it goes."""


@dataclass(frozen=True)
class Training:
    """What a method that trains the denoiser is given: nothing of it is held out, judged or validated with."""

    base: Checkpoint
    load: Callable[[], DiffusionPipeline]
    """The base, on the recipe's device in its dtype, for the method to change: as it is, whatever `start` says."""
    memorized: tuple[Prompt, ...]
    """Located prompts, with their training images where the table names them."""
    ordinary: tuple[Prompt, ...]
    neighbours: tuple[Prompt, ...]
    """Of the memorized ones; none where the recipe names no table."""
    sampling: Sampling
    side: int
    """Height and width of images in pixels."""
    rule: Rule
    """When a picture replicates a training image: such a one teaches nothing."""
    state: Path
    """Folder of what a training that is stopped goes on from; it goes when the stage is done."""
    counting: Callable[[str, int, int], AbstractContextManager[Bar]]
    """As `excise.run.progress.Progress.counting`."""
    before: Mapping[str, Change] = field(default_factory=dict)
    """What the edits before it make of the base's tensors, by name."""

    def start(self, name: str) -> Tensor:
        """The tensor of a name as training starts from it: the base's, after the edits before."""
        value = self.base.read(name)
        return self.before[name](value) if name in self.before else value


class Material(Protocol):
    """What a method is fitted on. It gives what the method's `Needs` name, and raises KeyError for anything else."""

    @property
    def settings(self) -> Section | None:
        """The recipe's section of the method (``[edit.random]``); None for a method without settings."""
        ...

    @property
    def sites(self) -> tuple[Site, ...]:
        """All sites of the recipe's family, in the order of the forward pass."""
        ...

    def mask(self, site: Site) -> Tensor:
        """The located entries: boolean ``(outputs, neurons)``."""
        ...

    def statistic(self, kind: str, prompts: str, site: Site) -> Statistic:
        """Sums over all groups of one set of prompts.

        Args:
            prompts: ``memorized``; the ``contrast`` that the recipe chose; or ``retained``: ordinary prompts and
                neighbours together.
        """
        ...

    def weight(self, site: Site) -> Tensor:
        """The weight as the edits before left it: ``(outputs, neurons)`` in the base's dtype, on the CPU."""
        ...

    @property
    def training(self) -> Training:
        """What a training takes."""
        ...


@dataclass(frozen=True)
class TensorEdit:
    """What becomes of one tensor."""

    change: Change
    entries: int
    """How many of its entries it could change."""
    zeroed: int | None
    """How many of them are set to zero, where that is all that happens to it; else None."""


class Edit(Protocol):
    """A fitted edit."""

    @property
    def tensors(self) -> Mapping[str, TensorEdit]:
        """What becomes of each tensor of the denoiser that it changes, by its name in the checkpoint's files."""
        ...


class SiteEdit(ABC):
    """A fitted edit that acts site by site: each site's part of its layer's weight becomes another."""

    @property
    @abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """The sites whose weight it changes."""

    @abstractmethod
    def apply(self, site: Site, weight: Tensor) -> Tensor:
        """The edited weight of a site.

        Args:
            site: one of `sites`.
            weight: ``(outputs, neurons)``, any floating dtype, on any device; left as it is.

        Returns:
            The same shape, dtype and device.
        """

    @abstractmethod
    def zeroed(self, site: Site) -> int | None:
        """Entries of the site's weight that are set to zero, where that is all that happens to it; else None."""

    @property
    def tensors(self) -> Mapping[str, TensorEdit]:
        """The weights of the sites, of which only the sites' parts change."""
        return {
            site.tensor: TensorEdit(self._change(site), site.outputs * site.neurons, self.zeroed(site))
            for site in self.sites
        }

    def _change(self, site: Site) -> Change:
        def changed(weight: Tensor) -> Tensor:
            edited = weight.clone()
            site.matrix(edited).copy_(self.apply(site, site.matrix(weight)))
            return edited

        return changed


def changes_of(edit: Edit) -> dict[str, Change]:
    """What becomes of each tensor, by its name: for `excise.checkpoint.copying` or `excise.diffusion.patching`."""
    return {name: tensor.change for name, tensor in edit.tensors.items()}


@dataclass(frozen=True)
class Masks:
    """Material of located masks and nothing else, by name of the site."""

    settings: Section | None
    sites: tuple[Site, ...]
    masks: Mapping[str, Tensor]

    def mask(self, site: Site) -> Tensor:
        """The located entries: boolean ``(outputs, neurons)``."""
        return self.masks[site.name]

    def statistic(self, kind: str, prompts: str, site: Site) -> Statistic:
        """None is there.

        Raises:
            KeyError: always.
        """
        raise KeyError(f"{kind} of {prompts} at {site.name}: this material has masks alone")

    def weight(self, site: Site) -> Tensor:
        """None is there.

        Raises:
            KeyError: always.
        """
        raise KeyError(f"weight of {site.name}: this material has masks alone")

    @property
    def training(self) -> Training:
        """None is there.

        Raises:
            KeyError: always.
        """
        raise KeyError("training: this material has masks alone")
