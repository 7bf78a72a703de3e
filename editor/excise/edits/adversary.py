"""Whom unlearning trains against: triggers that a search keeps bettering, and begins anew, on the weights as they are.

The search is that of `excise.attacks.embedding`: Adam on all text inputs of the denoiser, on its training loss of the
memorized image. It is another search than those that judge: it has a seed of its own, and none of their noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from excise.attacks.embedding import started
from excise.diffusion.gradients import TextLoss
from excise.recipe import UnlearnEdit

_BETAS, _TINY = (0.9, 0.999), 1e-8


class Pool:
    """A trigger of each memorized image from each start, with the state of its search, on the CPU."""

    def __init__(self, loss: TextLoss, images: int, empty: int, settings: UnlearnEdit) -> None:
        """Start none yet: each is when it is first asked for.

        Args:
            loss: of the denoiser under attack; its first prompts are the captions of the images.
            images: how many there are.
            empty: number of the empty prompt.
            settings: of the edit.
        """
        self._loss, self._images, self._empty, self._settings = loss, images, empty, settings
        count = len(settings.starts)
        zeros = {name: torch.zeros(images, count, *value.shape[1:]) for name, value in loss.text.items()}
        self._values = {name: value.clone() for name, value in zeros.items()}
        self._means = {name: value.clone() for name, value in zeros.items()}
        self._squares = zeros
        self._age = torch.full((images, count), settings.renewal)
        """Steps since each was started; the oldest are started anew."""

    def searched(
        self, images: Tensor, latents: Tensor, generator: torch.Generator, size: int
    ) -> tuple[dict[str, Tensor], float, int]:
        """Better one trigger of each of some images, from a start drawn for it.

        Args:
            images: their numbers, ``(images,)``, none twice.
            latents: of them, ``(images, ...)``.
            generator: draws starts, timesteps and noise.
            size: rows denoised together at most.

        Returns:
            The triggers, ``(images, ...)`` for each text input; the mean loss at the last step, before it; and the size
            that did.

        Raises:
            ExciseError: as `TextLoss.gradient`.
        """
        settings = self._settings
        starts = torch.randint(len(settings.starts), (len(images),), generator=generator)
        for image, start in zip(images.tolist(), starts.tolist(), strict=True):
            if self._age[image, start] >= settings.renewal:
                self._begin(image, start, generator)
        at, mean = (images, starts), 0.0
        for _ in range(settings.search_steps):
            times = self._loss.process.draw(len(images) * settings.search_samples, generator).view(len(images), -1)
            noise = torch.randn(len(images), settings.search_samples, *latents.shape[1:], generator=generator)
            told = {name: value[at].to(self._loss.device) for name, value in self._values.items()}
            held = latents.to(self._loss.device)
            found, losses, size = self._loss.gradient(told, held, noise, times, size, images)
            self._move(at, found)
            mean = float(losses.mean())
        return {name: value[at] for name, value in self._values.items()}, mean, size

    def _begin(self, image: int, start: int, generator: torch.Generator) -> None:
        way = self._settings.starts[start]
        where = {"empty": self._empty, "other": (image + 1) % self._images}.get(way, image)
        for name, value in self._loss.text.items():
            self._values[name][image, start] = started(value[where : where + 1].cpu(), way, [generator])[0]
            self._means[name][image, start] = self._squares[name][image, start] = 0.0
        self._age[image, start] = 0

    def _move(self, at: tuple[Tensor, Tensor], gradients: Mapping[str, Tensor]) -> None:
        """A step of Adam (Kingma & Ba 2015, 1412.6980), each trigger at its own age."""
        self._age[at] += 1
        for name, value in self._values.items():
            gradient = gradients[name].cpu()
            means, squares = self._means[name], self._squares[name]
            means[at] = means[at].lerp(gradient, 1.0 - _BETAS[0])
            squares[at] = squares[at].lerp(gradient.square(), 1.0 - _BETAS[1])
            age = self._age[at].view(-1, *[1] * (gradient.dim() - 1))
            mean, square = means[at] / (1.0 - _BETAS[0] ** age), squares[at] / (1.0 - _BETAS[1] ** age)
            value[at] = value[at] - self._settings.search_learning_rate * mean / (square.sqrt() + _TINY)

    def state(self) -> dict[str, Any]:
        """All that further searching depends on."""
        return {"values": self._values, "means": self._means, "squares": self._squares, "age": self._age}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._values, self._means, self._squares = (dict(state[key]) for key in ("values", "means", "squares"))
        self._age = state["age"]
