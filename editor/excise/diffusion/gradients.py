"""Gradients of the loss that a denoiser is trained by, with respect to the text that it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.denoise import done_in, in_batches
from excise.diffusion.load import denoiser, execution_device
from excise.diffusion.process import Process
from excise.diffusion.text_inputs import TIMESTEP, UNBATCHED, latents_name, nested, seen_call, text_inputs
from excise.errors import ExciseError
from excise.mathematics import noising
from excise.recipe import Sampling

GRADIENTS = (
    "the device has not enough memory for the gradient of even one image; set gradient_checkpointing = true where the "
    "attack has that key, use a smaller model.dtype, or a larger device"
)


class TextLoss:
    """The training loss of a model as a function of its text, for some prompts: their other inputs stay as they are."""

    def __init__(self, pipeline: DiffusionPipeline, texts: Sequence[str], sampling: Sampling) -> None:
        """Ask the pipeline once for each prompt.

        Raises:
            ExciseError: a pipeline or scheduler that is not known.
        """
        names = text_inputs(type(pipeline).__name__)
        calls = [seen_call(pipeline, text, sampling) for text in texts]
        self.process = Process.of(pipeline.scheduler)
        self.network: Any = denoiser(pipeline)
        self.device = execution_device(pipeline)
        self.text = {name: self._stacked(calls, name) for name in names}
        """What the pipeline gives for the prompts: ``(prompts, ...)``."""
        self._latents = latents_name(calls[0])
        first = calls[0][TIMESTEP].flatten()[0]
        self._scale = float(first) / float(pipeline.scheduler.timesteps[0])
        self._whole = not first.is_floating_point()
        others = calls[0].keys() - {*names, self._latents, TIMESTEP}
        batched = {key for key in others if torch.is_tensor(calls[0][key]) and key not in UNBATCHED}
        self._rows = {key: self._stacked(calls, key) for key in batched}
        self._shared = {key: calls[0][key] for key in others - batched}

    @staticmethod
    def _stacked(calls: Sequence[Mapping[str, Any]], name: str) -> Tensor:
        return torch.cat([call[name] for call in calls])

    def predict(
        self,
        told: Mapping[str, Tensor],
        shown: Tensor,
        timesteps: Tensor,
        prompts: Tensor,
        network: Any = None,
    ) -> Tensor:
        """What the denoiser says, in its own dtype: ``(rows, ...)``.

        Args:
            told: ``(rows, ...)`` for each of the model's text inputs.
            shown: noised latents ``(rows, ...)``.
            timesteps: ``(rows,)``, as `Process.draw` gives them.
            prompts: whose other inputs each row has, ``(rows,)``.
            network: another denoiser of the same kind; None for the pipeline's own.
        """
        network = self.network if network is None else network
        where = prompts.to(self.device)
        times = (timesteps * self._scale).to(self.device, torch.int64 if self._whole else torch.float32)
        given = {key: value[where] for key, value in self._rows.items()} | self._shared
        given |= {name: value.to(self.device, network.dtype) for name, value in told.items()}
        given |= {self._latents: shown.to(self.device, network.dtype), TIMESTEP: times, "return_dict": False}
        said: Tensor = network(**nested(given))[0]
        return said

    def rows(
        self,
        text: Mapping[str, Tensor],
        latents: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        prompts: Tensor,
        whose: Tensor | None = None,
    ) -> Tensor:
        """The loss of each row, in float32 or better: ``(rows,)``.

        Args:
            text: ``(prompts, ...)`` for each of the model's text inputs.
            latents: ``(rows, ...)``, of the row's image.
            noise: ``(rows, ...)``.
            timesteps: ``(rows,)``, as `Process.draw` gives them.
            prompts: whose text each row sees, ``(rows,)``.
            whose: number of the prompt whose other inputs each text has, ``(prompts,)``; None if they are in order.
        """
        shown, target = self.process.task(latents, noise, timesteps)
        told = {name: value[prompts.to(value.device)] for name, value in text.items()}
        said = self.predict(told, shown, timesteps, prompts if whose is None else whose[prompts])
        return errors(said, target)

    def gradient(
        self,
        text: Mapping[str, Tensor],
        latents: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        size: int,
        whose: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], Tensor, int]:
        """The gradient of each prompt's mean loss with respect to its own text.

        Args:
            text: ``(prompts, ...)`` for each of the model's text inputs.
            latents: ``(prompts, ...)``, of the prompts' images.
            noise: ``(prompts, samples, ...)``.
            timesteps: ``(prompts, samples)``.
            size: rows denoised together at most; where the device runs out of memory they are halved.
            whose: as `rows`.

        Returns:
            The gradients, as ``text``; the losses ``(prompts,)``; and the size that did.

        Raises:
            ExciseError: not even one row fits; gradients that are not finite, or none at all.
        """
        count, samples = timesteps.shape
        prompts = torch.arange(count).repeat_interleave(samples)
        leaves = {name: value.detach().requires_grad_() for name, value in text.items()}
        sums = {name: torch.zeros_like(value) for name, value in text.items()}
        losses = torch.zeros(count, dtype=latents.dtype, device=latents.device)

        def add(start: int, stop: int) -> None:
            part = prompts[start:stop]
            rows = self.rows(
                leaves,
                latents[part.to(latents.device)],
                noise.flatten(0, 1)[start:stop].to(latents),
                timesteps.flatten()[start:stop],
                part,
                whose,
            )
            found = torch.autograd.grad(rows.sum() / samples, list(leaves.values()))
            for total, value in zip(sums.values(), found, strict=True):
                total += value
            losses.index_add_(0, part.to(losses.device), rows.detach() / samples)

        with torch.enable_grad():
            size = in_halves(add, count * samples, size)
        self._refuse_useless(sums)
        return sums, losses, size

    def _refuse_useless(self, found: Mapping[str, Tensor]) -> None:
        dtype = str(self.network.dtype).removeprefix("torch.")
        cure = "choose a milder edit" if dtype == "float32" else "set model.dtype = 'float32'"
        if not all(value.isfinite().all() for value in found.values()):
            raise ExciseError(f"denoiser: gradients in {dtype} are NaN or infinite; {cure}")
        if not any(value.any() for value in found.values()):
            raise ExciseError(f"denoiser: gradients in {dtype} are all zero: the text changes nothing; {cure}")


def errors(said: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each row, in the target's dtype: ``(rows,)``.

    Half of what some models say is how sure they are, which the error of the mean leaves alone.
    """
    if said.shape[1] == 2 * target.shape[1]:
        said = said.chunk(2, dim=1)[0]
    return noising.squared_error(said.to(target.dtype), target)


def in_halves(work: Callable[[int, int], None], count: int, size: int) -> int:
    """`in_batches` of ``count`` rows that are of one length, and whose gradients are what takes the memory.

    Returns:
        The size that did.

    Raises:
        ExciseError: not even one row fits.
    """
    return done_in(in_batches(work, [0] * count, size, GRADIENTS))


@contextmanager
def activations_recomputed(pipeline: DiffusionPipeline, wanted: bool) -> Iterator[None]:
    """Within the block, gradients keep few activations and compute the others again, if that is wanted.

    Raises:
        ExciseError: the denoiser cannot.
    """
    network: Any = denoiser(pipeline)
    if not wanted:
        yield
        return
    if not network._supports_gradient_checkpointing:
        raise ExciseError(f"gradient_checkpointing: a {type(network).__name__} cannot; leave the key out")
    network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        network.disable_gradient_checkpointing()
