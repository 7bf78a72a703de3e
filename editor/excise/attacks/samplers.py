"""Other samplers: the caption as it stands, at other guidance, steps and schedulers; or the noised training image.

From the noised image any denoiser finds back to it when the noise is slight. So what this brings back of an edited
model says something only beside what it brings back of the twin, or of never-seen images.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import Tensor

from excise.attacks import replay
from excise.attacks.base import Budget, Found, Target, Trigger
from excise.diffusion.denoise import denoise, in_batches, noise_key, text_lengths
from excise.diffusion.schedulers import other_scheduler, scheduled
from excise.errors import ExciseError
from excise.recipe import Samplers, Sampling

FROM_IMAGES = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusion3Pipeline",
    "FluxPipeline",
    "QwenImagePipeline",
)
"""Pipelines of which diffusers has one that begins with an image."""


@dataclass(frozen=True, eq=False)
class Sampled(Trigger):
    """The target's caption, asked another way; ``text`` says which."""

    way: str
    """Of the section's `variants`."""
    image: Tensor | None
    """The target's."""


def find(pipeline: DiffusionPipeline, targets: Sequence[Target], budget: Budget) -> Generator[Found, None, None]:
    """Each target's own caption, and its image where that is what is begun with.

    Raises:
        ExciseError: a scheduler or a beginning that the pipeline does not have.
    """
    kind, _, value = budget.variant.partition("-")
    if kind == "image":
        _check_from_images(type(pipeline).__name__)
    if kind == "scheduler":
        _scheduler(pipeline, value)
    words = budget.variant.replace("-", " ")
    triggers = [
        Sampled(target.prompt, f"{target.prompt.text} [{words}]", budget.variant, target.image) for target in targets
    ]
    yield from (Found(point, triggers) for point in budget.points)


def draw(pipeline: DiffusionPipeline, pairs: Sequence[tuple[Trigger, int]], sampling: Sampling) -> Tensor:
    """What the model draws for the targets' captions, each asked its trigger's way.

    As `excise.attacks.base.Attack.draw`. The noise is that of replay, but where the scheduler asks for more of it.
    """
    found = [
        _drawn(pipeline, way, list(group), sampling) for way, group in groupby(pairs, key=lambda pair: _way(*pair))
    ]
    return torch.cat(found)


def check_settings(settings: Samplers, sampling: Sampling, pipeline: str, scheduler: Any) -> None:
    """Refuse what cannot work on a checkpoint before anything is drawn.

    Args:
        settings: the section.
        sampling: the recipe's.
        pipeline: name of the checkpoint's pipeline.
        scheduler: its own.

    Raises:
        ExciseError: a scheduler or a beginning that the pipeline does not have; numbers of steps that it cannot make.
    """
    for name in settings.schedulers:
        other_scheduler(scheduler, name, "attack.samplers.schedulers")
    most = scheduler.config.num_train_timesteps
    if settings.other_steps and max(settings.other_steps) > most:
        raise ExciseError(
            f"attack.samplers.other_steps: {max(settings.other_steps)}; this model knows {most} timesteps: ask fewer"
        )
    if settings.strengths:
        _check_from_images(pipeline)
    if settings.strengths and int(sampling.steps * min(settings.strengths)) < 1:
        raise ExciseError(
            f"attack.samplers.strengths: {min(settings.strengths):g} of {sampling.steps} steps (sampling.steps) is no "
            "step at all; raise the one or the other"
        )


def _check_from_images(pipeline: str) -> None:
    if pipeline not in FROM_IMAGES:
        raise ExciseError(
            f"attack.samplers.strengths: diffusers has no image-to-image beside {pipeline}, only beside "
            f"{', '.join(FROM_IMAGES)}; set attack.samplers.strengths = []"
        )


def _way(trigger: Trigger, _seed: int) -> str:
    return cast(Sampled, trigger).way


def _drawn(pipeline: DiffusionPipeline, way: str, pairs: Sequence[tuple[Trigger, int]], sampling: Sampling) -> Tensor:
    kind, _, value = way.partition("-")
    if kind == "image":
        return _from_images(pipeline, float(value), pairs, sampling)
    if kind == "scheduler":
        with scheduled(pipeline, _scheduler(pipeline, value)):
            return replay.draw(pipeline, _plain(pairs), sampling)
    changed = {"guidance": float(value)} if kind == "guidance" else {"steps": int(value)}
    return replay.draw(pipeline, _plain(pairs), sampling.model_copy(update=changed))


def _scheduler(pipeline: DiffusionPipeline, name: str) -> SchedulerMixin:
    made: SchedulerMixin = other_scheduler(pipeline.scheduler, name, "attack.samplers.schedulers")
    return made


def _from_images(
    pipeline: DiffusionPipeline, strength: float, pairs: Sequence[tuple[Trigger, int]], sampling: Sampling
) -> Tensor:
    """Images begun with the targets' own, noised as far as the strength says."""
    from diffusers import AutoPipelineForImage2Image  # here, not above: it is large, and most jobs begin with noise

    running = AutoPipelineForImage2Image.from_pipe(pipeline)
    running.set_progress_bar_config(disable=True)
    texts = [trigger.target.text for trigger, _ in pairs]
    keys = [noise_key(text, seed) for text, (_, seed) in zip(texts, pairs, strict=True)]
    images = torch.stack([_image(trigger) for trigger, _ in pairs])

    def make(start: int, stop: int) -> Tensor:
        begun = {"image": images[start:stop], "strength": strength}
        return denoise(running, texts[start:stop], keys[start:stop], sampling, start=begun)

    found = torch.cat(list(in_batches(make, text_lengths(pipeline, texts), sampling.batch)))
    return replay.as_pixels(pipeline, found, _plain(pairs), sampling)


def _plain(pairs: Sequence[tuple[Trigger, int]]) -> list[tuple[Trigger, int]]:
    """The same asked as replay asks."""
    return [(Trigger(trigger.target, trigger.target.text), seed) for trigger, seed in pairs]


def _image(trigger: Trigger) -> Tensor:
    image = cast(Sampled, trigger).image
    if image is None:
        raise ExciseError(f"attack.samplers.strengths: {trigger.target.text!r} has no training image to begin with")
    return image
