"""Taking note of what an edit changes, while it does."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.edits.base import Edit
from excise.edits.edit_record import ChangedTensor, EditRecord, FileHashes, TensorCopy


class Recorder:
    """Takes note of every changed tensor while a checkpoint is copied; `observe` may be called from any thread."""

    def __init__(self) -> None:
        self._copies: dict[str, dict[str, TensorCopy]] = {}

    def observe(self, file: str, tensor: str, before: Tensor, after: Tensor) -> None:
        """As `excise.checkpoint.copying.Observe`."""
        bits = [_bits(value) for value in (before, after)]
        width = before.element_size()
        changed = int((bits[0] != bits[1]).view(-1, width).any(dim=1).sum())
        norm = torch.linalg.vector_norm(after.double() - before.double()).item()
        digests = [hashlib.sha256(value.numpy().tobytes()).hexdigest() for value in bits]
        copy = TensorCopy(before=digests[0], after=digests[1], changed=changed, norm=float(f"{norm:.9g}"))
        self._copies.setdefault(tensor, {})[file] = copy

    def record(
        self, base: Checkpoint, edited: Checkpoint, edit: Edit, method: str, family: str, name: str
    ) -> EditRecord:
        """The record of the edit that made ``edited`` of ``base``; ``name`` is what the base is called."""
        before, after = base.hashes(), edited.hashes()
        return EditRecord(
            base=name,
            method=method,
            sites=family,
            tensors={
                site.tensor: ChangedTensor(
                    entries=site.outputs * site.neurons,
                    zeroed=edit.zeroed(site),
                    copies=dict(sorted(self._copies[site.tensor].items())),
                )
                for site in edit.sites
            },
            files={name: FileHashes(base=before[name], edited=after[name]) for name in before},
        )


def _bits(value: Tensor) -> Tensor:
    return value.contiguous().reshape(-1).view(torch.uint8)
