"""Training a denoiser's weights, in float32 whatever they are stored as: a state that is kept gives the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from excise.diffusion.gradients import TextLoss, errors, in_halves


@dataclass(frozen=True)
class Rows:
    """What a denoiser is to learn: what it is shown and told, what it is to say, and how much that counts."""

    told: Mapping[str, Tensor]
    """``(rows, ...)`` for each of the model's text inputs."""
    prompts: Tensor
    """Whose other inputs each row has: ``(rows,)``."""
    shown: Tensor
    """Noised latents: ``(rows, ...)``."""
    timesteps: Tensor
    """``(rows,)``."""
    target: Tensor
    """``(rows, ...)``; twice the channels where what a model says of its own certainty is to be kept too."""
    weight: Tensor
    """``(rows,)``."""

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, start: int, stop: int) -> Rows:
        """Rows from one to before another."""
        told = {name: value[start:stop] for name, value in self.told.items()}
        rest = (self.prompts, self.shown, self.timesteps, self.target, self.weight)
        return Rows(told, *(value[start:stop] for value in rest))

    @classmethod
    def joined(cls, parts: Collection[Rows]) -> Rows:
        """The rows of all parts."""
        first, *_ = parts
        told = {name: torch.cat([part.told[name] for part in parts]) for name in first.told}
        names = ("prompts", "shown", "timesteps", "target", "weight")
        return cls(told, *(torch.cat([getattr(part, name) for part in parts]) for name in names))


def held_in_float32(network: nn.Module, stored: Callable[[str], Tensor]) -> None:
    """Put a network's weights, as they are stored, in place of those that it computes with, in float32.

    Args:
        network: changed in place.
        stored: gives the tensor of a name.
    """
    network.float()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(stored(name))


class Learner:
    """A denoiser whose weights are trained: AdamW without decay, the learning rate falling to 0 as a cosine does."""

    def __init__(
        self, loss: TextLoss, names: Collection[str], rate: float, steps: int, average: float | None, dtype: torch.dtype
    ) -> None:
        """Make ready to train.

        Args:
            loss: of the denoiser, whose weights are float32 and are trained in place.
            names: of the tensors that may change.
            rate: learning rate of the first step.
            steps: of the whole training.
            average: weight of the past in a moving average of the weights, which is then what was learned; or None.
            dtype: bfloat16 computes in it, with float32 weights; in any other dtype everything is float32.
        """
        network: nn.Module = loss.network
        network.requires_grad_(False)
        self.loss, self.done = loss, 0
        self._weights = {name: value for name, value in network.named_parameters() if name in names}
        for value in self._weights.values():
            value.requires_grad_(True)
        self._rate, self._steps, self._past, self._dtype = rate, steps, average, dtype
        self._adam = torch.optim.AdamW(list(self._weights.values()), lr=rate, weight_decay=0.0)
        self._average = {name: value.detach().clone() for name, value in self._weights.items()} if average else {}

    def precision(self) -> AbstractContextManager[Any]:
        """Within it the denoiser computes in the dtype that was asked for."""
        return torch.autocast(self.loss.device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16)

    def learn(self, rows: Rows, size: int) -> tuple[float, int]:
        """Add the gradient of the weighted sum of the rows' errors.

        Args:
            rows: learned from.
            size: rows denoised together at most; where the device runs out of memory they are halved.

        Returns:
            The sum, and the size that did.

        Raises:
            ExciseError: not even one row fits.
        """
        sums: list[Tensor] = []

        def add(start: int, stop: int) -> None:
            part = rows.part(start, stop)
            with self.precision():
                said = self.loss.predict(part.told, part.shown, part.timesteps, part.prompts)
            found = (part.weight.to(said.device) * errors(said, part.target.to(said.device))).sum()
            gradients = torch.autograd.grad(found, list(self._weights.values()), allow_unused=True)
            for value, gradient in zip(self._weights.values(), gradients, strict=True):
                if gradient is not None:
                    value.grad = gradient if value.grad is None else value.grad + gradient
            sums.append(found.detach())

        with torch.enable_grad():
            size = in_halves(add, len(rows), size)
        return float(torch.stack(sums).sum()), size

    def step(self) -> None:
        """Move the weights by what was added."""
        self._adam.param_groups[0]["lr"] = 0.5 * self._rate * (1.0 + math.cos(math.pi * self.done / self._steps))
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self.done += 1
        with torch.no_grad():
            for name, value in self._average.items():
                value.lerp_(self._weights[name], 1.0 - (self._past or 0.0))

    def learned(self) -> dict[str, Tensor]:
        """The weights, or their average where one is kept: float32 on the CPU, in memory of their own."""
        found = self._average or self._weights
        return {name: value.detach().to("cpu", copy=True) for name, value in found.items()}

    def state(self) -> dict[str, Any]:
        """All that further steps depend on."""
        weights = {name: value.detach() for name, value in self._weights.items()}
        return {"done": self.done, "weights": weights, "adam": self._adam.state_dict(), "average": self._average}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whose tensors may be on another device."""
        self.done = state["done"]
        with torch.no_grad():
            for held, kept in ((self._weights, state["weights"]), (self._average, state["average"])):
                for name, value in held.items():
                    value.copy_(kept[name])
        self._adam.load_state_dict(state["adam"])
