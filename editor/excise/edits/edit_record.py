"""``edit.json``: what an edit changed, tensor by tensor and file by file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from excise.files.models import Count, Hash, Part


class TensorCopy(Part):
    """A changed tensor in one of the copies of the weights."""

    before: Hash
    """sha256 of the tensor's bytes in the base."""
    after: Hash
    """The same in the edited checkpoint."""
    changed: Count
    """Entries whose bits differ."""
    norm: Annotated[float, Field(ge=0.0)]
    """Frobenius norm of the difference."""


class ChangedTensor(Part):
    """A tensor that an edit names."""

    entries: Count
    """Entries that the edit could have changed: a site's part of the tensor, or all of it."""
    zeroed: Count | None
    """How many of them it set to zero, where that is all it did; those that were zero already are counted too."""
    copies: Annotated[dict[str, TensorCopy], Field(min_length=1)]
    """By name of the file that holds the copy."""


class FileHashes(Part):
    """A file of the checkpoint."""

    base: Hash
    edited: Hash


class EditRecord(Part):
    """All of it."""

    base: str
    """Name of the folder that was edited."""
    method: str
    """As in the recipe: ``edit.method``, and ``then`` each of ``edit.then``."""
    sites: str
    """Family of sites, or scope of tensors, or several (`excise.diffusion.scopes`), that the edit could change."""
    tensors: dict[str, ChangedTensor]
    files: dict[str, FileHashes]
    """Every file of the checkpoint, by name."""

    @property
    def changed(self) -> list[str]:
        """Files in which base and edited checkpoint differ."""
        return [name for name, pair in self.files.items() if pair.base != pair.edited]

    @property
    def entries(self) -> int:
        """Over all tensors."""
        return sum(tensor.entries for tensor in self.tensors.values())

    @property
    def zeroed(self) -> int | None:
        """Over all tensors; None where something else than zeroing was done to one of them."""
        return total_zeroed(self.tensors)

    @property
    def weights_changed(self) -> int:
        """Entries that the edit concerns, in one copy of the weights: those it zeroed, else those that differ."""
        return weights_changed(self.tensors)


def weights_changed(tensors: Mapping[str, ChangedTensor]) -> int:
    """Entries that an edit concerns, in one copy of the weights: those it zeroed, else those that differ."""
    return sum(
        max(copy.changed for copy in tensor.copies.values()) if tensor.zeroed is None else tensor.zeroed
        for tensor in tensors.values()
    )


def total_zeroed(tensors: Mapping[str, ChangedTensor]) -> int | None:
    """Entries set to zero in all tensors; None where something else was done to one of them."""
    counts = [tensor.zeroed for tensor in tensors.values()]
    return None if None in counts else sum(count for count in counts if count is not None)


def said(tensors: Mapping[str, ChangedTensor]) -> str:
    """What was done to the weights, in a clause: ``1,234 of its weights set to zero``."""
    zeroed = total_zeroed(tensors)
    if zeroed is not None:
        return f"{zeroed:,} of its weights set to zero"
    layers = {name.rpartition(".")[0] for name in tensors}
    return f"the weights of {len(layers)} of its layers changed"
