"""Embedding search: optimise what the denoiser is told until it draws the target (Hintersdorf et al., 2507.16880).

The strongest attack there is on a model that may be differentiated: it is bound to no text that there could be. With
enough steps it makes any model draw any image, so what counts is how few it takes, beside a model that never saw it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.attacks.base import Budget, Found, Target, Trigger
from excise.attacks.replay import as_pixels
from excise.diffusion.denoise import denoise, in_batches, noise_key
from excise.diffusion.gradients import TextLoss, activations_recomputed
from excise.diffusion.latents import latents_of
from excise.diffusion.text_inputs import text_replaced
from excise.errors import ExciseError
from excise.recipe import Embedding, Sampling


@dataclass(frozen=True, eq=False)
class Told(Trigger):
    """Text inputs of the denoiser that no text gives. `text` is the prompt that the search started from."""

    inputs: Mapping[str, Tensor]
    """By name of the denoiser's argument, without the batch's dimension, on the CPU."""


def find(pipeline: DiffusionPipeline, targets: Sequence[Target], budget: Budget) -> Generator[Found, None, None]:
    """Adam on all text inputs of the denoiser, on its training loss of each target's latents, all targets together.

    Timesteps and noise are drawn anew at each step. Padding that the pipeline masks stays masked, and guidance that is
    an input (Flux) is as images are drawn.
    """
    settings = budget.settings
    if not isinstance(settings, Embedding):
        raise TypeError("the budget of an embedding search is the section attack.embedding")
    if not targets:
        yield from (Found(point, []) for point in budget.points)
        return
    with activations_recomputed(pipeline, settings.gradient_checkpointing):
        texts = [_start_of(target, budget.variant) for target in targets]
        loss = TextLoss(pipeline, texts, budget.sampling)
        own = [torch.Generator().manual_seed(budget.key(target)) for target in targets]
        latents = torch.stack([latents_of(pipeline, _image_of(target)) for target in targets])
        told = {name: started(value, budget.variant, own) for name, value in loss.text.items()}
        adam = torch.optim.Adam(told.values(), lr=settings.learning_rate)
        size, done = settings.rows, 0
        for point in budget.points:
            for _ in range(point - done):
                times = torch.stack([loss.process.draw(settings.samples, generator) for generator in own])
                noise = torch.stack([_noise(settings.samples, latents, generator) for generator in own])
                found, _, size = loss.gradient(told, latents, noise, times, size)
                for name, value in told.items():
                    value.grad = found[name]
                adam.step()
            done = point
            yield Found(point, [_found(targets[i], texts[i], told, i) for i in range(len(targets))])


def draw(pipeline: DiffusionPipeline, pairs: Sequence[tuple[Trigger, int]], sampling: Sampling) -> Tensor:
    """What the model draws when its denoiser is told what was found; as `excise.attacks.base.Attack.draw`."""
    told = [trigger.inputs for trigger, _ in pairs if isinstance(trigger, Told)]
    texts = [trigger.text for trigger, _ in pairs]
    keys = [noise_key(trigger.target.text, seed) for trigger, seed in pairs]

    def make(start: int, stop: int) -> Tensor:
        rows = {name: torch.stack([inputs[name] for inputs in told[start:stop]]) for name in told[0]}
        with text_replaced(pipeline, rows):
            return denoise(pipeline, texts[start:stop], keys[start:stop], sampling)

    images = torch.cat(list(in_batches(make, [0] * len(pairs), sampling.batch)))
    return as_pixels(pipeline, images, pairs, sampling)


def _start_of(target: Target, start: str) -> str:
    """The prompt that a search starts from.

    Raises:
        ExciseError: the caption of another image, and there is none.
    """
    if start == "empty":
        return ""
    if start != "other":
        return target.prompt.text
    if target.other is None:
        raise ExciseError(
            f"attack.embedding.starts: 'other' starts {target.prompt.text!r} from the caption of another image, and "
            "there is none; give more images, or leave 'other' out"
        )
    return target.other.prompt.text


def _image_of(target: Target) -> Tensor:
    if target.image is None:
        raise ValueError(f"prompt {target.prompt.text!r} has no training image to search for")
    return target.image


def started(given: Tensor, start: str, generators: Sequence[torch.Generator]) -> Tensor:
    """A text input to start from: ``(targets, ...)`` in float32 or better."""
    value = given.to(torch.promote_types(given.dtype, torch.float32)).clone()
    if start != "gaussian":
        return value
    drawn = [torch.randn(row.shape, generator=own) for row, own in zip(value, generators, strict=True)]
    return torch.stack([row.mean() + row.std() * noise.to(row) for row, noise in zip(value, drawn, strict=True)])


def _noise(samples: int, latents: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(samples, *latents.shape[1:], generator=generator)


def _found(target: Target, text: str, told: Mapping[str, Tensor], place: int) -> Told:
    inputs = {name: value[place].detach().to("cpu", copy=True) for name, value in told.items()}
    return Told(target.prompt, text, inputs)
