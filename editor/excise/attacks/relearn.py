"""Relearning: train the model for a few steps, on another memorized image or on the target itself, and replay.

What was deleted must come back no faster than in a model that never saw it; what was hidden comes back at once, often
even when another image is shown. With enough steps on the target any model learns it: what counts is the curve, beside
the twin's or never-seen images'.

The model is another one for each target, so nothing is batched across targets: a step costs a forward and a backward
pass of ``samples`` rows, and in memory each target of a chunk takes three times the denoiser's weights in float32
(weights and both moments of Adam), and gradients while it learns.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import cast

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from excise.attacks import replay
from excise.attacks.base import Budget, Found, Target, Trigger
from excise.diffusion.gradients import TextLoss, activations_recomputed, in_halves
from excise.diffusion.latents import latents_of
from excise.diffusion.load import denoiser
from excise.diffusion.text_inputs import check_pipeline
from excise.errors import ExciseError
from excise.recipe import Relearn, Sampling


@dataclass(frozen=True, eq=False)
class Relearned(Trigger):
    """The target's caption, asked of the model after some training; ``text`` says on what."""

    weights: Mapping[str, Tensor]
    """Of the denoiser, float32, by name."""


def find(pipeline: DiffusionPipeline, targets: Sequence[Target], budget: Budget) -> Generator[Found, None, None]:
    """Each target's own caption, with the weights of a denoiser that was trained as far as the point.

    Raises:
        ExciseError: a pipeline that is not known; no other image to train on; a loss that is not finite.
    """
    settings = budget.settings
    if not isinstance(settings, Relearn):
        raise TypeError("the budget of relearning is the section attack.relearn")
    check_trainable(type(pipeline).__name__)
    done = 0
    with activations_recomputed(pipeline, settings.gradient_checkpointing):
        learners = [_Learner(pipeline, target, budget, settings) for target in targets]
        for point in budget.points:
            for learner in learners:
                learner.learn(point - done)
            done = point
            yield Found(point, [learner.trigger(point) for learner in learners])


def draw(pipeline: DiffusionPipeline, pairs: Sequence[tuple[Trigger, int]], sampling: Sampling) -> Tensor:
    """What the model draws for the targets' captions, with each one's weights; as `excise.attacks.base.Attack.draw`."""
    images = []
    for _, group in groupby(pairs, key=lambda pair: id(pair[0])):
        same = list(group)
        plain = [(Trigger(trigger.target, trigger.target.text), seed) for trigger, seed in same]
        with _holding(denoiser(pipeline), cast(Relearned, same[0][0]).weights):
            images.append(replay.draw(pipeline, plain, sampling))
    return torch.cat(images)


def check_trainable(pipeline: str) -> None:
    """Refuse a pipeline whose training loss is not known.

    Raises:
        ExciseError: it is none of `excise.diffusion.text_inputs.TEXT_INPUTS`.
    """
    check_pipeline(pipeline, "attack.methods: 'relearn'", "train")


class _Learner:
    """A denoiser that learns one image."""

    def __init__(self, pipeline: DiffusionPipeline, target: Target, budget: Budget, settings: Relearn) -> None:
        self._target, self._settings = target, settings
        self._shown = _shown(target, budget.variant)
        self._random = torch.Generator().manual_seed(budget.key(target))
        self._loss = TextLoss(pipeline, [self._shown.prompt.text], budget.sampling)
        self._latents = latents_of(pipeline, _image_of(self._shown))
        self._network = denoiser(pipeline)
        self._weights = {name: value.detach().float().clone() for name, value in self._network.named_parameters()}
        self._adam = torch.optim.Adam(self._network.parameters(), lr=settings.learning_rate)

    def learn(self, steps: int) -> None:
        """Train for so many steps more; the network is as it was afterwards."""
        with _holding(self._network, self._weights, torch.float32), torch.enable_grad():
            self._network.requires_grad_(True)
            try:
                for _ in range(steps):
                    self._step()
                self._weights = {name: value.data for name, value in self._network.named_parameters()}
            finally:
                self._network.requires_grad_(False)
                self._adam.zero_grad()

    def _step(self) -> None:
        samples, parameters = self._settings.samples, list(self._network.parameters())
        times = self._loss.process.draw(samples, self._random)
        noise = torch.randn(samples, *self._latents.shape, generator=self._random).to(self._latents)

        def add(start: int, stop: int) -> None:
            latents = self._latents.expand(stop - start, *self._latents.shape)
            own = torch.zeros(stop - start, dtype=torch.int64)
            rows = self._loss.rows(self._loss.text, latents, noise[start:stop], times[start:stop], own)
            if not rows.isfinite().all():
                raise ExciseError("attack.relearn: the loss is NaN or infinite; lower attack.relearn.learning_rate")
            found = torch.autograd.grad(rows.sum() / samples, parameters, allow_unused=True)
            for parameter, value in zip(parameters, found, strict=True):
                if value is not None:
                    parameter.grad = value if parameter.grad is None else parameter.grad + value

        in_halves(add, samples, samples)
        self._adam.step()
        self._adam.zero_grad()

    def trigger(self, steps: int) -> Relearned:
        """What there is after so many steps."""
        what = "its own image" if self._shown is self._target else f"the image of {self._shown.prompt.text!r}"
        text = f"{self._target.prompt.text} [after {steps} steps on {what}]"
        return Relearned(self._target.prompt, text, self._weights)


@contextmanager
def _holding(network: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> Iterator[None]:
    """Within the block the network computes with other weights, in a dtype or in its own; its own are never touched."""
    own = {name: parameter.data for name, parameter in network.named_parameters()}
    try:
        for name, parameter in network.named_parameters():
            parameter.data = weights[name].to(dtype or own[name].dtype)
        yield
    finally:
        for name, parameter in network.named_parameters():
            parameter.data = own[name]


def _shown(target: Target, variant: str) -> Target:
    if variant == "itself":
        return target
    if target.other is None:
        raise ExciseError(
            f"attack.relearn.on: 'other' trains on another image than that of {target.prompt.text!r}, and there is "
            "none; give more images, or leave 'other' out"
        )
    return target.other


def _image_of(target: Target) -> Tensor:
    if target.image is None:
        raise ExciseError(f"attack.relearn: {target.prompt.text!r} has no training image to train on")
    return target.image
