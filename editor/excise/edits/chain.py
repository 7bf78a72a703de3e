"""Several edits, one after another: each is fitted on the weights as those before it left them.

Statistics and masks are the base's for all of them, and so is the teacher of one that is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from excise.diffusion.patching import Change
from excise.edits import Edit, Material, TensorEdit, changes_of, method


@dataclass(frozen=True)
class Chain:
    """Applies edits in their order."""

    edits: tuple[Edit, ...]

    @property
    def tensors(self) -> Mapping[str, TensorEdit]:
        """Those of all edits; of one that several change, every change in turn."""
        found: dict[str, TensorEdit] = {}
        for edit in self.edits:
            for name, tensor in edit.tensors.items():
                found[name] = _after(found[name], tensor) if name in found else tensor
        return found


def _after(first: TensorEdit, second: TensorEdit) -> TensorEdit:
    def changed(value: Tensor) -> Tensor:
        return second.change(first.change(value))

    return TensorEdit(changed, max(first.entries, second.entries), None)


def fitted(names: Sequence[str], material: Callable[[str, Mapping[str, Change]], Material]) -> Edit:
    """Fit methods one after another.

    Args:
        names: of the methods, in their order; of one alone its own edit is given.
        material: of a method's name and what the edits before it make of the base's tensors.

    Raises:
        ExciseError: as the methods' ``fit``.
    """
    edits: list[Edit] = []
    for name in names:
        edits.append(method(name).fit(material(name, changes_of(Chain(tuple(edits))))))
    return edits[0] if len(edits) == 1 else Chain(tuple(edits))
