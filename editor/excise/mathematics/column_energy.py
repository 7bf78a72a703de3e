"""Energies of token-normalised activations, neuron by neuron: what the published ranking is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

TINY = 1e-12
"""Least length a token vector is divided by, as in `torch.nn.functional.normalize`."""
SUMS = ("energy", "first", "second", "tokens", "prompts")


def token_energy(inputs: Tensor) -> Tensor:
    """Squared column norm of the token-normalised input of a site, row by row.

    Each token's vector x is divided by its length over the neurons, and its squares are added up over the tokens:
    ``sum_t (x[t, i] / max(|x[t]|, TINY))^2``. Chavhan et al. 2024 (2406.18566) as their code does it; the column
    norm that Wanda (Sun et al. 2023, 2306.11695) uses, of normalised instead of raw activations.

    Args:
        inputs: ``(rows, tokens, neurons)``, any floating dtype.

    Returns:
        ``(rows, neurons)`` float32. A row's sum is its number of tokens that are not zero.
    """
    squares = inputs.float().square()
    lengths = squares.sum(dim=-1).clamp_min(TINY**2)  # (rows, tokens)
    return torch.bmm(lengths.reciprocal().unsqueeze(1), squares).squeeze(1)


@dataclass
class ColumnEnergy:
    """Sums over a set of prompts at one site. All float64; sums of two sets add up to those of their union.

    Float64 from the start: the variance over prompts of ``v`` is a small difference of large sums.
    """

    energy: Tensor
    """``(calls, neurons)``: sum over prompts and tokens of `token_energy`."""
    first: Tensor
    """``(calls, neurons)``: sum over prompts of v, the prompt's mean energy per token."""
    second: Tensor
    """``(calls, neurons)``: sum over prompts of v squared."""
    tokens: Tensor
    """``(calls,)``: tokens seen, over all prompts."""
    prompts: Tensor
    """``()``: prompts seen; each is seen at every call."""
    _open: tuple[Tensor, int] | None = field(default=None, init=False, repr=False)
    """Energies ``(prompts, neurons)`` float32 and tokens per prompt of the call at hand: v needs all its passes."""

    @classmethod
    def zeros(cls, calls: int, neurons: int, device: torch.device) -> Self:
        """Of no prompts."""
        shapes = ((calls, neurons), (calls, neurons), (calls, neurons), (calls,), ())
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    def add(self, inputs: Tensor) -> None:
        """Add one pass of the denoiser over a batch of prompts; see `excise.mathematics.statistics.Statistic`."""
        rows, prompts, tokens, _ = inputs.shape
        energy = token_energy(inputs.flatten(0, 1)).unflatten(0, (rows, prompts)).sum(dim=0)  # (prompts, neurons)
        before = self._open
        self._open = (energy, rows * tokens) if before is None else (before[0] + energy, before[1] + rows * tokens)

    def end_call(self, call: int) -> None:
        """Take in what was added since the call before."""
        if self._open is None:
            return
        energy, tokens = self._open[0].double(), self._open[1]
        self._open = None
        means = energy / tokens
        self.energy[call] += energy.sum(dim=0)
        self.first[call] += means.sum(dim=0)
        self.second[call] += means.square().sum(dim=0)
        self.tokens[call] += tokens * len(energy)
        if call == 0:
            self.prompts.add_(len(energy))

    def tensors(self) -> dict[str, Tensor]:
        """The sums by name."""
        return {name: getattr(self, name) for name in SUMS}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of `tensors`."""
        return cls(*(tensors[name] for name in SUMS))

    @classmethod
    def merge(cls, parts: Sequence[Self]) -> Self:
        """Sums of the union of disjoint sets, added in the order given."""
        columns = ([getattr(part, name) for part in parts] for name in SUMS)
        return cls(*(sum(column[1:], start=column[0]) for column in columns))


def column_norm(found: ColumnEnergy) -> Tensor:
    """Root mean square over prompts and tokens of the token-normalised activations: ``(calls, neurons)`` float64.

    The published norm is the root of the sum, ``a <- sqrt(a^2 + a_new^2)`` prompt by prompt, and asks for sets of
    equal size. The mean differs from it by one factor per set: where sets have equal size, scores keep their order
    and contrasts their sign, so masks are the same; where they have not, only the mean is comparable.
    """
    return (found.energy / found.tokens.unsqueeze(-1)).sqrt()


def mean_and_variance(found: ColumnEnergy) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance over prompts of v: two ``(calls, neurons)`` float64.

    The variance of a single prompt is 0: there is nothing to estimate it from, and the caller must know.
    """
    count = found.prompts
    mean = found.first / count
    spread = (found.second - found.first * mean).clamp_min(0.0)
    return mean, spread / (count - 1).clamp_min(1.0)
