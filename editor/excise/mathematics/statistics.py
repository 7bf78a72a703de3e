"""What may be kept of a site's inputs: the protocol, and the kinds there are.

A kind is one class that follows `Statistic`, in a file of its own, and one line in `STATISTICS`. Collecting knows no
more of it than this: it keeps what the recipe's ranking and edit declare, and never an activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import torch
from torch import Tensor

from excise.mathematics.column_energy import ColumnEnergy
from excise.mathematics.second_moment import SecondMoment


class Statistic(Protocol):
    """Running sums over prompts at one site. The sums of two disjoint sets add up to those of their union."""

    @classmethod
    def zeros(cls, calls: int, neurons: int, device: torch.device) -> Self:
        """Of no prompts, on the device where inputs will come from."""
        ...

    def add(self, inputs: Tensor) -> None:
        """Add one pass of the denoiser over a batch of prompts.

        Guidance may take several passes for one call, and a denoiser may use a site more than once in a pass.

        Args:
            inputs: ``(rows, prompts, tokens, neurons)``, any floating dtype: the site's input for 1 or 2 rows of
                guidance of each prompt.
        """
        ...

    def end_call(self, call: int) -> None:
        """The batch has no more passes at this call."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The sums by name, float64, all that is kept on disk."""
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of `tensors`."""
        ...

    @classmethod
    def merge(cls, parts: Sequence[Self]) -> Self:
        """Sums of the union, added in the order given, so that the same parts give the same bits."""
        ...


STATISTICS: dict[str, type[Statistic]] = {
    "column_energy": ColumnEnergy,
    "second_moment": SecondMoment,
}
"""Kinds of statistics by the name that rankings and edits declare, and that files on disk carry."""
