"""Edits of weights, one file per method; see `excise.edits.base` for what a method is."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Protocol, cast

from excise.edits.base import Edit, Masks, Material, Needs, SiteEdit, TensorEdit, Training, changes_of

__all__ = [
    "METHODS", "Edit", "Masks", "Material", "Method", "Needs", "SiteEdit", "TensorEdit", "Training", "changes_of",
    "method", "needs",
]  # fmt: skip

METHODS = {
    "zero": "excise.edits.zero",
    "project": "excise.edits.project",
    "compensate": "excise.edits.compensate",
    "random": "excise.edits.random",
    "nemo": "excise.edits.nemo",
    "unlearn": "excise.edits.unlearn",
}
"""Method by the name that ``edit.method`` gives, to its module. Names, not modules: what a stage's result depends on
is the code of the chosen method, not of all."""


class Method(Protocol):
    """The module of a method."""

    NEEDS: Needs
    ZEROES: bool

    def fit(self, material: Material) -> Edit:
        """The edit that fits the material.

        Raises:
            ExciseError: the material allows none; names the recipe's key and says what to do.
        """
        ...


def method(name: str) -> Method:
    """The method of a name.

    Raises:
        KeyError: there is none of that name.
    """
    return cast(Method, import_module(METHODS[name]))


def needs(names: Iterable[str]) -> Needs:
    """What all methods of these names together are fitted on."""
    found = [method(name).NEEDS for name in names]
    return Needs(
        subspace=any(each.subspace for each in found),
        statistics=frozenset[str]().union(*(each.statistics for each in found)),
        retained=any(each.retained for each in found),
        weights=any(each.weights for each in found),
        training=any(each.training for each in found),
    )
