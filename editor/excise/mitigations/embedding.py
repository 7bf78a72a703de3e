"""What the denoiser is told, moved until the text adds less to its first call (Wen et al. 2024, arXiv 2407.21720).

Before an image is drawn, AdamW lowers the magnitude ``|e_c - e_0|`` at its own first latents by its text inputs, the
first token left alone, until it is at the target or the steps are spent. Each image of a batch is handled by itself,
stops by itself, and pays for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.denoise import denoise, in_batches, noise_key, text_lengths
from excise.diffusion.gradients import GRADIENTS
from excise.diffusion.guided import GuidedCall
from excise.diffusion.text_inputs import text_replaced
from excise.errors import ExciseError
from excise.mitigations.base import Drawn, Mitigating

STATES = 3
"""Dimensions of a text input that has tokens; of one that has none (pooled), all is moved."""


def draw(pipeline: DiffusionPipeline, texts: Sequence[str], seeds: Sequence[int], settings: Mitigating) -> Drawn:
    """Draw with what the texts became; as `excise.mitigations.base.Mitigation.draw`."""
    keys = [noise_key(text, seed) for text, seed in zip(texts, seeds, strict=True)]

    def make(start: int, stop: int) -> tuple[Tensor, Tensor]:
        own, noise = texts[start:stop], keys[start:stop]
        told, spent = calmed(pipeline, own, noise, settings)
        with text_replaced(pipeline, told):
            return denoise(pipeline, own, noise, settings.sampling), spent

    parts = list(in_batches(make, text_lengths(pipeline, texts), settings.sampling.batch, GRADIENTS))
    images, spent = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    if not bool(images.isfinite().all()):
        raise ExciseError("NaN or infinite pixels; use --dtype float32")
    calls = settings.sampling.steps + spent[:, 0]
    return Drawn((255 * images).round().to(torch.uint8), calls, spent[:, 1], tuple(texts))


def calmed(
    pipeline: DiffusionPipeline, texts: Sequence[str], keys: Sequence[int], settings: Mitigating
) -> tuple[dict[str, Tensor], Tensor]:
    """The text inputs at which each text's magnitude is at most the target, or that its steps have led to.

    Args:
        pipeline: a guided one.
        texts: prompts, taken together.
        keys: seed of the noise of each.
        settings: target, steps, rate.

    Returns:
        By name ``(texts, ...)``, in the denoiser's dtype; and int64 ``(texts, 2)``: denoiser calls, and those of them
        that were differentiated.

    Raises:
        ExciseError: a model that is not called with and without the text in one batch; gradients that are not finite.
    """
    call = GuidedCall(pipeline, texts, keys, settings.sampling)
    told = {name: value.detach().float().clone().requires_grad_() for name, value in call.text.items()}
    adam = torch.optim.AdamW(told.values(), lr=settings.rate)
    spent = torch.tensor([[1, 0]]).repeat(len(texts), 1)  # the call that was looked at
    moving = torch.ones(len(texts), dtype=torch.bool)
    for step in range(settings.iterations + 1):
        with torch.enable_grad():
            gaps = call.difference({name: value.to(call.latents.dtype) for name, value in told.items()})
            lengths = gaps.float().flatten(1).norm(dim=1)  # (texts,): of each image its own
            spent[moving, 0] += 1
            moving &= (lengths.detach() > settings.target).cpu()
            if step == settings.iterations or not bool(moving.any()):
                break
            found = torch.autograd.grad(lengths.sum(), list(told.values()))
        spent[moving, 1] += 1
        before = {name: value.detach().clone() for name, value in told.items()}
        for value, gradient in zip(told.values(), found, strict=True):
            if not bool(gradient.isfinite().all()):
                raise ExciseError("gradients of the magnitude are NaN or infinite; use --dtype float32")
            value.grad = gradient
        adam.step()
        with torch.no_grad():
            for name, value in told.items():
                value[~moving] = before[name][~moving]  # it has stopped: the others' steps are not its own
                if value.ndim == STATES:
                    value[:, 0] = before[name][:, 0]
    return {name: value.detach().to(call.text[name].dtype) for name, value in told.items()}, spent
