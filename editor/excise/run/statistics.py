"""The sums that collecting leaves: what a run asks for, how they are named in the file, and reading them one by one.

Tensors are float64, ``{set}/{group}/{rows}/{kind}/{site}/{sum}``, with

* set: ``memorized``, ``control``, ``contrast``, ``neighbours`` or ``empty``; group: ``0`` …, for the last three only
  ``0``;
* rows: ``both`` rows of guidance pooled, as published, or ``conditional`` alone. Of the pooled rows a prompt's sums
  cannot be had from those of the parts, so where both choices are asked for, each is kept whole;
* kind and sum: a name in `excise.mathematics.statistics.STATISTICS`, and one of its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from safetensors import safe_open
from torch import Tensor

from excise.errors import ExciseError
from excise.mathematics.column_energy import ColumnEnergy
from excise.mathematics.statistics import STATISTICS, Statistic
from excise.recipe import Locate
from excise.run.layout import Run

CONTROL = "control"
SETS = ("memorized", CONTROL, "contrast", "neighbours", "empty")
"""Prompt sets that statistics are kept of, in the order in which they are collected."""
GROUPED = ("memorized", CONTROL)
"""Those that are kept group by group."""
RETAINED = ("contrast", "neighbours")
"""Those that an edit is to keep as they are."""
ROWS = ("both", "conditional")
Sums = Mapping[tuple[str, str, str], Statistic]
"""By rows, kind, and name of the site."""
S = TypeVar("S", bound=Statistic)


def contrast_of(settings: Locate) -> str:
    """The set that memorized prompts are contrasted with."""
    return "contrast" if settings.contrast == "ordinary" else settings.contrast


@dataclass(frozen=True)
class Demand:
    """What a recipe's ranking, edit and evidence ask to be collected; nothing else is."""

    sets: tuple[str, ...]
    """Of `SETS`, in their order."""
    rows: tuple[str, ...]
    """Of `ROWS`."""
    kinds: tuple[str, ...]
    """Of `STATISTICS`: what ranking is made from, of every set."""
    fitted: tuple[str, ...] = ()
    """Further ones that the edit is fitted on: of every set but the control, which shows how far masks are shared."""

    def of(self, name: str) -> tuple[str, ...]:
        """Kinds that are kept of one set."""
        return self.kinds if name == CONTROL else (*self.kinds, *self.fitted)


def tensors_of(sums: Sums) -> dict[str, Tensor]:
    """Sums as CPU tensors by ``{rows}/{kind}/{site}/{sum}``; of their float64 a device holds one site's at a time."""
    return {
        f"{rows}/{kind}/{site}/{name}": tensor.cpu()
        for (rows, kind, site), statistic in sums.items()
        for name, tensor in statistic.tensors().items()
    }


def sums_of(tensors: Mapping[str, Tensor]) -> dict[tuple[str, str, str], Statistic]:
    """The inverse of `tensors_of`."""
    found: dict[tuple[str, str, str], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        rows, kind, site, part = name.split("/")
        found.setdefault((rows, kind, site), {})[part] = tensor
    return {key: STATISTICS[key[1]].from_tensors(parts) for key, parts in found.items()}


class StatisticsFile:
    """The statistics of a run; each tensor is read when it is asked for."""

    def __init__(self, run: Run) -> None:
        """Open them.

        Raises:
            ExciseError: the run has none.
        """
        if not run.statistics.is_file():
            raise ExciseError(f"{run.statistics}: is not there; first run `excise run RECIPE --until collect`")
        self._path = run.statistics
        self._file = safe_open(run.statistics, framework="pt")
        self._parts: dict[str, list[str]] = {}
        for name in self._file.keys():  # noqa: SIM118, it is not a dictionary
            stem, _, part = name.rpartition("/")
            self._parts.setdefault(stem, []).append(part)

    def groups(self, name: str) -> int:
        """How many groups of a set there are."""
        return len({stem.split("/")[1] for stem in self._parts if stem.startswith(f"{name}/")})

    def read(self, kind: str, name: str, group: int, rows: str, site: str) -> Statistic:
        """The sums of one kind, of one group of one set, at one site.

        Raises:
            ExciseError: they were not collected.
        """
        stem = f"{name}/{group}/{rows}/{kind}/{site}"
        if stem not in self._parts:
            raise ExciseError(f"{self._path}: {stem} was not collected; run excise run again")
        return STATISTICS[kind].from_tensors(
            {part: self._file.get_tensor(f"{stem}/{part}") for part in self._parts[stem]}
        )

    def energies(self, name: str, rows: str, site: str) -> list[ColumnEnergy]:
        """Column energies of every group of one set at one site."""
        found = [self.read("column_energy", name, group, rows, site) for group in range(self.groups(name))]
        return [energy for energy in found if isinstance(energy, ColumnEnergy)]

    def total(self, kind: str, name: str, rows: str, site: str) -> Statistic:
        """The sums over all groups of one set at one site."""
        return STATISTICS[kind].merge([self.read(kind, name, group, rows, site) for group in range(self.groups(name))])
