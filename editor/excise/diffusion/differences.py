"""What a text adds to the first call of a denoiser, where latents are noise: how much, and what."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.denoise import in_batches, text_lengths
from excise.diffusion.guided import Prediction, check_guided, predictions
from excise.diffusion.process import Process
from excise.mathematics.detection import places
from excise.recipe import Sampling


def guided_difference(
    pipeline: DiffusionPipeline,
    texts: Sequence[str],
    keys: Sequence[int],
    sampling: Sampling,
    apart: Tensor | None = None,
) -> Tensor:
    """Mean square of the difference between the prediction with each prompt and without one, at the first call, where
    latents are noise (Wen et al. 2024, the square of their metric at one call).

    Args:
        pipeline: one that is guided.
        texts: prompts.
        keys: seed of the noise of each.
        sampling: steps, size, and how many go together.
        apart: orthonormal directions ``(directions, numbers)``; what of a difference lies along them does not count.

    Returns:
        Float32 ``(texts,)`` on the CPU.
    """

    def lengths(gaps: Tensor) -> Tensor:
        return across(gaps, apart).square().mean(dim=1)

    return _of_gaps(pipeline, texts, keys, sampling, lengths)


def guided_gaps(pipeline: DiffusionPipeline, texts: Sequence[str], keys: Sequence[int], sampling: Sampling) -> Tensor:
    """These differences themselves: float32 ``(texts, numbers)`` on the CPU; arguments as `guided_difference`."""
    return _of_gaps(pipeline, texts, keys, sampling, lambda gaps: gaps)


def first_guesses(pipeline: DiffusionPipeline, texts: Sequence[str], keys: Sequence[int], sampling: Sampling) -> Tensor:
    """What a model guesses of the picture from pure noise, with the text alone: the noise that it predicts less the
    noise that is there (Hintersdorf et al. 2024, arXiv 2406.02366); of one that predicts something else, what one step
    to the end takes off the noise, less the noise.

    Args:
        pipeline: the model.
        texts: prompts.
        keys: seed of the noise of each.
        sampling: size, and how many go together.

    Returns:
        Float32 ``(texts, channels, height, width)`` on the CPU.

    Raises:
        ExciseError: the scheduler does not state what is predicted; predictions that are not finite.
    """
    process, alone = Process.of(pipeline.scheduler), sampling.model_copy(update={"guidance": 1.0})
    found = list[Tensor]()

    def receive(_call: int, said: Prediction) -> None:
        shown = said.shown.float()
        guess = (process.one_step_change(shown, said.conditional.float(), said.timestep) - shown).cpu()
        if guess.ndim == 3:  # tokens of a square
            guess = guess.transpose(1, 2).unflatten(2, (math.isqrt(guess.shape[1]),) * 2)
        found.append(guess)

    def make(start: int, stop: int) -> Tensor:
        predictions(pipeline, texts[start:stop], keys[start:stop], alone, 1, receive)
        return found.pop()

    return torch.cat(list(in_batches(make, text_lengths(pipeline, texts), sampling.batch)))


def even_directions(pipeline: DiffusionPipeline, sampling: Sampling) -> Tensor:
    """What is the same everywhere in a difference: of each channel the direction in which all of its places go alike.

    Where latents are noise a text's difference is its mean picture, and one colour all over is as long as a photograph.

    Args:
        pipeline: one that is guided.
        sampling: size.

    Returns:
        Float32, orthonormal, ``(channels, numbers)`` on the CPU.
    """
    found = list[Tensor]()

    def receive(_call: int, said: Prediction) -> None:
        found.append(said.conditional[0].float().cpu())

    predictions(pipeline, [""], [0], sampling.model_copy(update={"guidance": 2.0}), 1, receive)
    shown = found[0]
    axes = tuple(axis - 1 for axis in places(shown[None]))  # of one row
    channel = next(axis for axis in range(shown.ndim) if axis not in axes)
    one = torch.eye(shown.shape[channel])
    for axis in axes:
        one = one.unsqueeze(axis + 1)
    even: Tensor = one.expand(-1, *shown.shape).flatten(1)
    return torch.nn.functional.normalize(even, dim=1)


def across(gaps: Tensor, apart: Tensor | None) -> Tensor:
    """What of ``(rows, numbers)`` is across some orthonormal directions ``(directions, numbers)``."""
    if apart is None or not len(apart):
        return gaps
    along = apart.to(gaps)
    return gaps - (gaps @ along.T) @ along


def _of_gaps(
    pipeline: DiffusionPipeline,
    texts: Sequence[str],
    keys: Sequence[int],
    sampling: Sampling,
    told: Callable[[Tensor], Tensor],
) -> Tensor:
    check_guided(type(pipeline).__name__)
    asked, found = sampling.model_copy(update={"guidance": 2.0}), list[Tensor]()

    def receive(_call: int, said: Prediction) -> None:
        assert said.unconditional is not None, "guidance above 1 asks without the text too"
        found.append(told((said.conditional.float() - said.unconditional.float()).flatten(1)).cpu())

    def make(start: int, stop: int) -> Tensor:
        predictions(pipeline, texts[start:stop], keys[start:stop], asked, 1, receive)
        return found.pop()

    return torch.cat(list(in_batches(make, text_lengths(pipeline, texts), sampling.batch)))
