"""How a model was trained to see noise, as its scheduler states it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from excise.errors import ExciseError
from excise.mathematics import noising

Predicted = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]


@dataclass(frozen=True)
class Process:
    """How a scheduler's model was trained to see noise."""

    predicts: Predicted
    steps: int
    """Timesteps of training."""
    signal: Tensor | None
    """Cumulative product of alphas, ``(steps,)``; None for flow matching."""
    shift: float = 1.0

    @classmethod
    def of(cls, scheduler: Any) -> Process:
        """That of a scheduler.

        Raises:
            ExciseError: it states neither alphas nor a flow.
        """
        config, name = scheduler.config, type(scheduler).__name__
        predicts = cast(Predicted, config.get("prediction_type") or "epsilon")
        if name.startswith("FlowMatch") or predicts == "flow_prediction" or config.get("use_flow_sigmas"):
            moved = 1.0 if config.get("use_dynamic_shifting") else config.get("shift") or config.get("flow_shift")
            return cls("flow_prediction", config.num_train_timesteps, None, float(moved or 1.0))
        if predicts not in ("epsilon", "v_prediction", "sample") or not hasattr(scheduler, "alphas_cumprod"):
            raise ExciseError(
                f"scheduler: a {name} that predicts {predicts!r} states no noise that its model was given"
            )
        return cls(predicts, config.num_train_timesteps, scheduler.alphas_cumprod.double().cpu())

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Timesteps ``(count,)`` as in training: float64 where noise is a flow, else whole numbers."""
        if self.signal is not None:
            return torch.randint(self.steps, (count,), generator=generator)
        uniform = torch.rand(count, generator=generator, dtype=torch.float64)
        return self.steps * noising.shifted(uniform, self.shift)

    def task(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """What the denoiser is shown, and what it is to say: both as ``latents``."""
        if self.signal is None:
            return noising.straight(latents, noise, timesteps / self.steps), noising.flow(latents, noise)
        signal = self.signal[timesteps]
        shown = noising.variance_preserving(latents, noise, signal)
        if self.predicts == "v_prediction":
            return shown, noising.velocity(latents, noise, signal)
        return shown, noise if self.predicts == "epsilon" else latents

    def scales(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """How much of the latents is left at timesteps, and the standard deviation of the noise: both ``(rows,)``."""
        if self.signal is None:
            return 1.0 - timesteps / self.steps, timesteps / self.steps
        signal = self.signal[timesteps]
        return signal.sqrt(), (1.0 - signal).sqrt()

    def in_latents(self, timesteps: Tensor) -> Tensor:
        """What a squared error of what the denoiser says is as one of the latents that it stands for: the factor.

        Args:
            timesteps: ``(rows,)``.

        Returns:
            float64 ``(rows,)``: of noise s²/k², of a velocity or flow s², with k and s of `scales`; of latents 1.
        """
        kept, spread = (scale.double() for scale in self.scales(timesteps))
        if self.predicts == "sample":
            return torch.ones_like(spread)
        return (spread / kept).square() if self.predicts == "epsilon" else spread.square()

    def likeliest(self, shown: Tensor, candidates: Tensor, timesteps: Tensor) -> Tensor:
        """What the best denoiser would make of what it is shown if latents were one of the candidates.

        Args:
            shown: ``(rows, ...)``.
            candidates: ``(rows, candidates, ...)``.
            timesteps: ``(rows,)``.
        """
        return noising.posterior_mean(shown, candidates, *self.scales(timesteps))

    def leading(self, shown: Tensor, latents: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser is to say of what it is shown so that it leads to these latents, of which it was not made.

        At little noise that is large, as ``1 / s``: weighed by s², its error counts as an error of the latents.
        """
        return self.task(latents, noising.implied_noise(shown, latents, *self.scales(timesteps)), timesteps)[1]

    def one_step_change(self, shown: Tensor, said: Tensor, timestep: float) -> Tensor:
        """What a single step to the end takes off latents, up to a factor that is the same for all of them.

        Args:
            shown: ``(rows, ...)``, scaled as the denoiser sees them.
            said: its prediction, shaped as ``shown``: noise or a flow is the change itself.
            timestep: of the call.
        """
        if self.signal is None or self.predicts == "epsilon":
            return said
        signal = float(self.signal[min(max(round(timestep), 0), self.steps - 1)])
        end: Tensor = said
        if self.predicts == "v_prediction":
            end = signal**0.5 * shown - (1.0 - signal) ** 0.5 * said
        return shown - end
