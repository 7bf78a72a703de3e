"""A method of editing that only the tests know, which changes whole tensors: everything becomes a little larger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from excise.edits.base import Edit, Material, Needs, TensorEdit
from excise.recipe import ScopedEdit

NEEDS = Needs()
ZEROES = False


@dataclass(frozen=True)
class Shift:
    tensors: Mapping[str, TensorEdit]


def fit(material: Material) -> Edit:
    settings = material.settings
    assert isinstance(settings, ScopedEdit)
    sizes = material.base.editable(settings.scope)  # type: ignore[attr-defined]
    return Shift({name: TensorEdit(lambda tensor: tensor * 1.25 + 0.01, size, None) for name, size in sizes.items()})
