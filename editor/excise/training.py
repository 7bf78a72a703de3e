"""A callback for a training loop of diffusers: samples that the model is learning by heart count less, or not at all.

After the training-time filter of Wen et al. (2024, arXiv 2407.21720): where what the text adds to a prediction has
become large, the text no longer describes the image, it names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from excise.mathematics.detection import magnitude

__all__ = ["MagnitudeFilter"]


class MagnitudeFilter:
    """Weights for the losses of a batch, by the magnitude ``|e_c - e_0|`` of each sample at its own timestep.

    It makes one more call of the denoiser a step, without gradient, on the same noised latents and without the text; it
    keeps nothing of a sample. The loss of a batch is then the mean of weight times error::

        keep = MagnitudeFilter(unet, {"encoder_hidden_states": empty_states}, threshold=2.0)
        ...
        given = {"sample": noisy, "timestep": timesteps, "encoder_hidden_states": states}
        predicted = unet(**given, return_dict=False)[0]
        errors = F.mse_loss(predicted.float(), target.float(), reduction="none").flatten(1).mean(dim=1)
        loss = (keep(predicted, given) * errors).mean()

    The threshold is in the model's own units: the length over all numbers of a latent of what it predicts (noise,
    velocity or flow), which grows with the root of their number. Take it from a model that memorized nothing: `lengths`
    of some ordinary batches, and of these a high quantile, at each timestep where they differ much.

    Where a model that memorized nothing goes on being trained, that model can be the `reference`: the threshold is then
    how many times its own magnitude, of the same sample in the same noise, a sample may come to. What a striking
    ordinary caption adds is as large before the training as after, and is no longer taken for memory (ours, and not
    Wen et al.'s). It costs two calls of the reference a step.
    """

    def __init__(
        self,
        denoiser: Callable[..., Any],
        empty: Mapping[str, Tensor],
        threshold: float | Tensor,
        above: Literal["drop", "lower"] = "drop",
        reference: Callable[..., Any] | None = None,
    ) -> None:
        """Make ready to weigh.

        Args:
            denoiser: the one that is trained, wrapped for several devices or not; called with the loop's arguments and
                ``return_dict=False``.
            empty: what it is told in place of a text that is left out, ``(1, ...)`` each, by name of its argument; one
                in a dictionary after a dot (``added_cond_kwargs.text_embeds``).
            threshold: magnitude up to which a sample counts wholly; or one for each timestep of training,
                ``(timesteps,)``.
            above: what becomes of a sample above it: ``drop`` weighs it 0, ``lower`` threshold / magnitude.
            reference: the denoiser before the training, frozen; called as ``denoiser`` is. If given, the threshold is
                in units of its magnitudes.

        Raises:
            ValueError: a threshold that is not positive, another word for ``above``, or nothing that is left out.
        """
        limits = torch.as_tensor(threshold, dtype=torch.float32)
        if limits.ndim > 1 or not bool((limits > 0).all()):
            raise ValueError(f"threshold: {threshold}; give a positive number, or one for each timestep")
        if above not in ("drop", "lower"):
            raise ValueError(f"above: {above!r}; give 'drop' or 'lower'")
        if not empty:
            raise ValueError("empty: names no argument; give what the denoiser is told in place of a text")
        self.denoiser, self.empty, self.threshold, self.above = denoiser, empty, limits, above
        self.reference = reference
        self.seen = self.held = 0
        """Samples weighed so far, and how many of them were above the threshold."""

    def __call__(self, predicted: Tensor, given: Mapping[str, Any]) -> Tensor:
        """Weights of the samples of a batch.

        Args:
            predicted: what the denoiser said with the text, ``(batch, ...)``; its gradient is left alone.
            given: the arguments of that call, by name; ``timestep`` is ``(batch,)``.

        Returns:
            float32 ``(batch,)`` in [0, 1] on the device of ``predicted``, without gradient.

        Raises:
            ValueError: arguments that do not name what is to be left out; a timestep without a threshold.
        """
        lengths = self.lengths(predicted, given)
        limits = self._limits(given).to(lengths.device)
        over = lengths > limits
        self.seen += len(lengths)
        self.held += int(over.sum())
        return torch.where(over, 0.0 if self.above == "drop" else limits / lengths, 1.0)

    def lengths(self, predicted: Tensor, given: Mapping[str, Any]) -> Tensor:
        """Magnitudes of the samples of a batch, arguments as when it is called: float32 or better ``(batch,)``."""
        return self._lengths(self.denoiser, predicted, given)

    @torch.no_grad()
    def _lengths(self, denoiser: Callable[..., Any], predicted: Tensor, given: Mapping[str, Any]) -> Tensor:
        without: dict[str, Any] = dict(given)
        for name, value in self.empty.items():
            outer, _, inner = name.partition(".")
            if outer not in without or (inner and inner not in without[outer]):
                raise ValueError(f"given: has no {name!r}, which is to be left out; it has {', '.join(given)}")
            told = value.to(predicted.device).expand(len(predicted), *value.shape[1:])
            without[outer] = {**without[outer], inner: told} if inner else told
        return magnitude(predicted.detach(), denoiser(**without | {"return_dict": False})[0])

    @torch.no_grad()
    def _limits(self, given: Mapping[str, Any]) -> Tensor:
        """Magnitudes up to which the samples of a batch count wholly; ``()`` where it is one for all of them."""
        limits = self._thresholds(given)
        if self.reference is None:
            return limits
        expected = self._lengths(self.reference, self.reference(**{**given, "return_dict": False})[0], given)
        return limits.to(expected.device) * expected

    def _thresholds(self, given: Mapping[str, Any]) -> Tensor:
        if self.threshold.ndim == 0:
            return self.threshold
        if "timestep" not in given:
            raise ValueError("given: has no 'timestep', by which the threshold is looked up")
        times = torch.as_tensor(given["timestep"]).long().cpu()
        if bool((times >= len(self.threshold)).any()):
            raise ValueError(f"threshold: has {len(self.threshold)} timesteps, and the batch one of {int(times.max())}")
        return self.threshold[times]
