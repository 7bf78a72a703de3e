"""What a denoiser predicts with a text and without it, in the calls of its pipeline's own guided loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from excise.diffusion.denoise import denoise
from excise.diffusion.distinct import distinct_texts
from excise.diffusion.load import denoiser
from excise.diffusion.text_inputs import (
    DISTILLED,
    TEXT_INPUTS,
    TIMESTEP,
    UNBATCHED,
    arguments_of,
    latents_name,
    nested,
)
from excise.errors import ExciseError
from excise.recipe import Sampling


@dataclass(frozen=True)
class Prediction:
    """One call, for a batch of prompts."""

    conditional: Tensor
    """``(prompts, ...)``, as the denoiser gives it; without the half that says how sure it is."""
    unconditional: Tensor | None
    """The same without the text; None where the model is not asked so."""
    shown: Tensor
    """The latents that it saw, shaped as ``conditional``."""
    timestep: float


def has_guidance(pipeline: str, configuration: Mapping[str, Any]) -> bool:
    """Whether a model is called with and without the text; a distilled one takes the scale as an input.

    Args:
        pipeline: name of its class.
        configuration: of its denoiser.
    """
    return pipeline not in DISTILLED and configuration.get("time_cond_proj_dim") is None


def check_guided(pipeline: str) -> None:
    """Refuse a pipeline that says nothing without the prompt.

    Raises:
        ExciseError: it is distilled.
    """
    if pipeline in DISTILLED:
        raise ExciseError(
            f"attack.prompt.ways: 'gibbs' compares what a model says with and without the prompt, and a {pipeline}, "
            "whose guidance is an input, is never asked without: leave 'gibbs' out"
        )


def predictions(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    keys: Sequence[int],
    sampling: Sampling,
    calls: int,
    receive: Callable[[int, Prediction], None],
) -> None:
    """Denoise a batch for its first calls, and look at what is predicted; no autoencoder, no text read twice.

    Args:
        pipeline: the model.
        prompts: one text for each row.
        keys: seed of the noise of each.
        sampling: steps, guidance and size.
        calls: how many.
        receive: is told the number of each call and its prediction.

    Raises:
        ExciseError: numbers that are not finite.
    """
    network, passes = denoiser(pipeline), list[tuple[Tensor, Tensor, float]]()

    def look(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = arguments_of(network, args, kwargs)
        shown = given[latents_name(given)]
        passes.append((mean_of(output[0], shown), shown, float(given[TIMESTEP].flatten()[0])))

    def after_call(call: int) -> None:
        prediction = _paired(passes, len(prompts))
        said = (prediction.conditional, prediction.unconditional)
        if not all(bool(one.isfinite().all()) for one in said if one is not None):
            dtype = str(network.dtype).removeprefix("torch.")
            raise ExciseError(f"model.dtype: predictions are not finite in {dtype}; use bfloat16 or float32")
        receive(call, prediction)
        passes.clear()

    hook = network.register_forward_hook(look, with_kwargs=True)
    try:
        with distinct_texts(pipeline):
            denoise(pipeline, prompts, keys, sampling, calls, after_call, decode=False)
    finally:
        hook.remove()


def mean_of(said: Tensor, shown: Tensor) -> Tensor:
    """What a denoiser predicts; some say after it how sure they are."""
    return said.chunk(2, dim=1)[0] if said.shape[1] == 2 * shown.shape[1] else said


def _paired(passes: Sequence[tuple[Tensor, Tensor, float]], rows: int) -> Prediction:
    """Guidance stacks the unconditional rows on the conditional ones, or makes a second pass for them."""
    said, shown, timestep = passes[0]
    if len(said) == 2 * rows:
        return Prediction(said[rows:], said[:rows], shown[rows:], timestep)
    return Prediction(said, passes[1][0] if len(passes) > 1 else None, shown, timestep)


class GuidedCall:
    """One call of a guided generation, which can be made again with other text or latents, and differentiated."""

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        prompts: Sequence[str],
        keys: Sequence[int],
        sampling: Sampling,
        call: int = 0,
    ) -> None:
        """Denoise up to a call, on the trajectory that guidance takes, and keep what the denoiser is given there.

        Args:
            pipeline: the model.
            prompts: one text for each row.
            keys: seed of the noise of each.
            sampling: steps, guidance and size.
            call: its number.

        Raises:
            ExciseError: a model that is not called with and without the text in one batch.
        """
        name = type(pipeline).__name__
        self.network: Any = denoiser(pipeline)
        configuration: Any = self.network.config
        if name not in TEXT_INPUTS or not has_guidance(name, configuration):
            raise ExciseError(
                f"{name}: what the text adds cannot be differentiated: it needs a call with and without the text in "
                f"one batch; known are {', '.join(known for known in TEXT_INPUTS if known not in DISTILLED)}"
            )
        self._rows, seen = len(prompts), list[dict[str, Any]]()

        def look(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(arguments_of(self.network, args, kwargs))

        hook = self.network.register_forward_pre_hook(look, with_kwargs=True)
        try:
            denoise(pipeline, prompts, keys, sampling, call + 1, decode=False)
        finally:
            hook.remove()
        self._given = seen[call]
        self._latents = latents_name(self._given)
        self._told = [float(found[TIMESTEP].flatten()[0]) for found in seen]
        self._timesteps = [float(time) for time in pipeline.scheduler.timesteps]
        if len(self._given[self._latents]) != 2 * self._rows:
            raise ExciseError(f"sampling.guidance: {sampling.guidance} asks for no call without the text; give above 1")
        self.text = {name: self._given[name][self._rows :] for name in TEXT_INPUTS[name]}
        """What the conditional rows are told, ``(rows, ...)`` by name of the denoiser's argument."""
        self.latents: Tensor = self._given[self._latents][self._rows :]
        """``(rows, ...)``: the same in the unconditional rows."""

    def repeated(self, times: int) -> GuidedCall:
        """The same call with each row that many times, without asking the pipeline again."""
        found = copy(self)
        rows, found._rows = 2 * self._rows, times * self._rows
        found._given = {
            name: value.repeat_interleave(times, dim=0)
            if torch.is_tensor(value) and name not in UNBATCHED and value.dim() and len(value) == rows
            else value
            for name, value in self._given.items()
        }
        found.text = {name: value.repeat_interleave(times, dim=0) for name, value in self.text.items()}
        found.latents = self.latents.repeat_interleave(times, dim=0)
        return found

    def at(self, latents: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """What the same prompts make the model predict elsewhere: conditional and unconditional, ``(rows, ...)`` each.

        Args:
            latents: noised as in training, ``(rows, ...)``.
            timesteps: ``(rows,)``, as `excise.diffusion.process.Process.draw` gives them.
        """
        told: Tensor = self._given[TIMESTEP]
        kind = torch.float32 if told.is_floating_point() else torch.int64
        moved = (timesteps * self._scale()).to(told.device, kind)
        shown = latents.to(self.latents)
        given = self._given | {self._latents: torch.cat([shown, shown]), TIMESTEP: torch.cat([moved, moved])}
        said = mean_of(self.network(**nested(given | {"return_dict": False}))[0], shown)
        return said[self._rows :], said[: self._rows]

    def _scale(self) -> float:
        """What the denoiser is told in place of a timestep, by that timestep; the last may be 0, and tells nothing."""
        pairs = zip(self._told, self._timesteps, strict=False)
        found = next((told / time for told, time in pairs if time), None)
        if found is None:
            raise ExciseError("sampling.steps: the scheduler's only timestep is 0; ask for more steps")
        return found

    def difference(self, text: Mapping[str, Tensor] | None = None, latents: Tensor | None = None) -> Tensor:
        """What the text adds to the prediction, ``e_c - e_0``: ``(rows, ...)``.

        Args:
            text: of the conditional rows; the unconditional ones keep their own.
            latents: of both.
        """
        given = dict(self._given)
        for name, value in (text or {}).items():
            given[name] = torch.cat([given[name][: self._rows], value])
        if latents is not None:
            given[self._latents] = torch.cat([latents, latents])
        said = self.network(**nested(given | {"return_dict": False}))[0]
        without, with_text = mean_of(said, given[self._latents]).chunk(2)
        return with_text - without


def curvature(call: GuidedCall) -> Tensor:
    """How sharply the model's density bends along what the text adds: ``|J' d|``, ``d = e_c - e_0``, ``J`` of d.

    After Jeon et al. (2024, arXiv 2412.04140), who multiply the difference of the two Hessians with the difference of
    the scores. A true Hessian is symmetric; the transposed product is what one backward pass gives exactly, with no
    step size to choose.

    Returns:
        float32 or better ``(rows,)``, up to the noise level's factors, the same for every prompt.
    """
    with torch.enable_grad():
        latents = call.latents.detach().clone().requires_grad_()
        half = 0.5 * call.difference(latents=latents).square().sum()
        (found,) = torch.autograd.grad(half, [latents])
    lengths: Tensor = found.to(torch.promote_types(found.dtype, torch.float32)).flatten(1).norm(dim=1)
    return lengths
