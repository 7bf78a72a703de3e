"""Second moments of a site's inputs: the matrices that subspace deletion compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_BLOCKS, _LEAST = 4, 64
"""Into how many blocks of rows a sum is cut at most, and of how many rows at least."""


@dataclass
class SecondMoment:
    """Sum of x xᵀ over tokens, prompts and calls at one site, with x a token's input as it is, not normalised.

    Running sums are float32 on the device, of each block of rows from its diagonal on: the rest follows by symmetry,
    and a third of the work is saved. `tensors` gives all of it in float64, and only that is merged.
    """

    products: Tensor
    """``(neurons, neurons)``: sum of x xᵀ; of a running sum, on and above the diagonal."""
    tokens: Tensor
    """``()`` float64: tokens seen, over all prompts and calls."""

    @classmethod
    def zeros(cls, calls: int, neurons: int, device: torch.device) -> Self:
        """Of no prompts. All calls go into one sum, so that their number changes nothing."""
        products = torch.zeros(neurons, neurons, dtype=torch.float32, device=device)
        return cls(products, torch.zeros((), dtype=torch.float64, device=device))

    def add(self, inputs: Tensor) -> None:
        """Add one pass of the denoiser over a batch of prompts; see `excise.mathematics.statistics.Statistic`."""
        flat = inputs.flatten(0, 2).float()  # (rows * prompts * tokens, neurons)
        neurons = flat.shape[1]
        size = max(_LEAST, -(-neurons // _BLOCKS))
        for start in range(0, neurons, size):
            self.products[start : start + size, start:].addmm_(flat[:, start : start + size].T, flat[:, start:])
        self.tokens += len(flat)

    def end_call(self, call: int) -> None:
        """Nothing: a sum over tokens is not kept apart by calls."""

    def tensors(self) -> dict[str, Tensor]:
        """The sums by name, float64."""
        upper = self.products.double().triu()
        return {"products": upper + upper.triu(1).T, "tokens": self.tokens}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of `tensors`."""
        return cls(tensors["products"], tensors["tokens"])

    @classmethod
    def merge(cls, parts: Sequence[Self]) -> Self:
        """Sums of the union of disjoint sets, added in the order given."""
        products = sum((part.products for part in parts[1:]), start=parts[0].products)
        return cls(products, sum((part.tokens for part in parts[1:]), start=parts[0].tokens))


def mean_product(found: SecondMoment) -> Tensor:
    """E[x xᵀ] over tokens: ``(neurons, neurons)``."""
    return found.products / found.tokens
