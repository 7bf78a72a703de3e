"""Taking note of what an edit changes, while it does."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.edits.base import Edit
from excise.edits.edit_record import ChangedTensor, EditRecord, FileHashes, TensorCopy

BLOCK = 2**22
"""Entries whose difference is taken at a time."""


class Recorder:
    """Takes note of every changed tensor while a checkpoint is copied; `observe` may be called from any thread."""

    def __init__(self) -> None:
        self._copies: dict[str, dict[str, TensorCopy]] = {}

    def observe(self, file: str, tensor: str, before: Tensor, after: Tensor) -> None:
        """As `excise.checkpoint.copying.Observe`."""
        bits = [_bits(value) for value in (before, after)]
        width = before.element_size()
        changed = int((bits[0] != bits[1]).view(-1, width).any(dim=1).sum())
        norm = math.sqrt(squared_distance(before.reshape(-1), after.reshape(-1)))
        digests = [hashlib.sha256(value.numpy().data).hexdigest() for value in bits]
        copy = TensorCopy(before=digests[0], after=digests[1], changed=changed, norm=float(f"{norm:.9g}"))
        self._copies.setdefault(tensor, {})[file] = copy

    def record(
        self, base: Checkpoint, edited: Checkpoint, edit: Edit, method: str, sites: str, name: str
    ) -> EditRecord:
        """The record of the edit that made ``edited`` of ``base``.

        Args:
            base: before the edit.
            edited: after it, as `observe` saw it being made.
            edit: the edit.
            method: its name, or names (`excise.recipe.Edit.named`).
            sites: family or scope of what it could change (`excise.diffusion.scopes`).
            name: what the base is called.
        """
        before, after = base.hashes(), edited.hashes()
        return EditRecord(
            base=name,
            method=method,
            sites=sites,
            tensors={
                name: ChangedTensor(
                    entries=tensor.entries,
                    zeroed=tensor.zeroed,
                    copies=dict(sorted(self._copies[name].items())),
                )
                for name, tensor in edit.tensors.items()
            },
            files={name: FileHashes(base=before[name], edited=after[name]) for name in before},
        )


def squared_distance(one: Tensor, other: Tensor) -> float:
    """Of two flat tensors, in float64, block by block, so that memory does not hold the whole in it."""
    pairs = zip(torch.split(one, BLOCK), torch.split(other, BLOCK), strict=True)
    return float(sum((b.double() - a.double()).square().sum().item() for a, b in pairs))


def _bits(value: Tensor) -> Tensor:
    return value.contiguous().reshape(-1).view(torch.uint8)
