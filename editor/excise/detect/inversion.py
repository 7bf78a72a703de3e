"""Is there an input that makes a model draw an image? A distribution of prompts and noise is learnt for it.

After Ma et al. (2024, arXiv 2405.05846). An image that is known by heart comes from usual noise once the prompt is
found; any other needs noise that is far from usual, or cannot be had at all. How far is what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.detect.settings import Inversion
from excise.diffusion.denoise import noise_key
from excise.diffusion.gradients import TextLoss, in_halves
from excise.diffusion.relaxed import Reader
from excise.errors import ExciseError
from excise.mathematics.inversion import chosen, divergence, gumbel_softmax
from excise.recipe import Sampling

Gradients = tuple[list[Tensor], Tensor, Tensor]
"""By logits of each alphabet, mean, and logarithm of the variance."""


class Objective:
    """The error of what the denoiser makes of an image's noised latents, by a distribution of prompts and noise."""

    def __init__(self, pipeline: DiffusionPipeline, sampling: Sampling, settings: Inversion) -> None:
        """Ask the pipeline once.

        Raises:
            ExciseError: a pipeline that is not known; more tokens than it reads.
        """
        self.reader = Reader(pipeline, settings.tokens)
        self.loss = TextLoss(pipeline, [self.reader.text], sampling)
        self.temperature = settings.temperature

    def gradients(
        self,
        logits: Sequence[Tensor],
        mean: Tensor,
        log_variance: Tensor,
        latents: Tensor,
        uniform: Sequence[Tensor],
        noise: Tensor,
        timesteps: Tensor,
        size: int,
    ) -> tuple[Gradients, Tensor, int]:
        """Of each image's mean squared error of latents, over draws of noise from N(mean, variance).

        Args:
            logits: of each alphabet ``(images, tokens, choices)``.
            mean: of the noise, ``(images, ...)``.
            log_variance: the same.
            latents: of the images, ``(images, ...)``.
            uniform: what mixtures are drawn by, shaped as ``logits``.
            noise: standard normal ``(images, samples, ...)``.
            timesteps: ``(images, samples)``.
            size: rows denoised together at most; where the device runs out of memory they are halved.

        Returns:
            Gradients; errors ``(images,)``; and the size that did.

        Raises:
            ExciseError: not even one row fits; gradients that are not finite.
        """
        count, samples = timesteps.shape
        told: list[dict[str, Tensor]] = []

        def read(start: int, stop: int) -> None:
            with torch.no_grad():
                told.append(self.reader.told(self._mixed(logits, uniform, start, stop)))

        in_halves(read, count, count)
        wide = torch.promote_types(told[0][next(iter(told[0]))].dtype, torch.float32)
        text = {name: torch.cat([part[name] for part in told]).to(wide).requires_grad_() for name in told[0]}
        leaves = [*text.values(), mean.detach().requires_grad_(), log_variance.detach().requires_grad_()]
        sums, parts = [torch.zeros_like(value) for value in leaves], list[Tensor]()
        owner, alone = torch.arange(count).repeat_interleave(samples), torch.zeros(count, dtype=torch.int64)
        flat, times = noise.flatten(0, 1), timesteps.flatten()

        def add(start: int, stop: int) -> None:
            part = owner[start:stop]
            on = part.to(mean.device)
            shaped = leaves[-2][on] + (0.5 * leaves[-1][on]).exp() * flat[start:stop].to(mean)
            rows = self.loss.rows(text, latents[on], shaped, times[start:stop], part, alone)
            rows = rows * self.loss.process.in_latents(times[start:stop]).to(rows)
            for total, value in zip(sums, torch.autograd.grad(rows.sum() / samples, leaves), strict=True):
                total += value
            parts.append(rows.detach())

        with torch.enable_grad():
            size = in_halves(add, count * samples, size)
            along = dict(zip(text, sums, strict=False))
            found = self._through_encoders(logits, uniform, along)
        errors = torch.cat(parts).view(count, samples).mean(dim=1)
        if not all(bool(value.isfinite().all()) for value in (*found, *sums, errors)):
            raise ExciseError("model.dtype: gradients of the search are NaN or infinite; use --dtype float32")
        return (found, sums[-2], sums[-1]), errors, size

    def _mixed(self, logits: Sequence[Tensor], uniform: Sequence[Tensor], start: int, stop: int) -> list[Tensor]:
        pairs = zip(logits, uniform, strict=True)
        return [gumbel_softmax(own[start:stop], drawn[start:stop], self.temperature) for own, drawn in pairs]

    def _through_encoders(
        self, logits: Sequence[Tensor], uniform: Sequence[Tensor], along: Mapping[str, Tensor]
    ) -> list[Tensor]:
        """Gradients by the logits, of those by what the denoiser is told."""
        parts: list[list[Tensor]] = [[] for _ in logits]

        def back(start: int, stop: int) -> None:
            leaves = [value[start:stop].detach().requires_grad_() for value in logits]
            told = self.reader.told(self._mixed(leaves, [value[start:stop] for value in uniform], 0, stop - start))
            ways = [along[name][start:stop].to(value) for name, value in told.items()]
            for kept, value in zip(parts, torch.autograd.grad(list(told.values()), leaves, ways), strict=True):
                kept.append(value)

        in_halves(back, len(logits[0]), len(logits[0]))
        return [torch.cat(kept) for kept in parts]


class Candidate:
    """The search for one image: where it is, and all its randomness, which depends on the image and the seed alone."""

    def __init__(self, key: str, latents: Tensor, shapes: Sequence[tuple[int, int]], settings: Inversion) -> None:
        """Begin with every token as likely as any other, and with usual noise."""
        self.settings, self.latents = settings, latents
        self.logits = [torch.zeros(shape, device=latents.device) for shape in shapes]
        self.mean, self.log_variance = torch.zeros_like(latents), torch.zeros_like(latents)
        self.random = torch.Generator().manual_seed(noise_key(f"inversion\n{key}", settings.seed))
        groups = [{"params": self.logits, "lr": settings.learning_rate},
                  {"params": [self.mean, self.log_variance], "lr": settings.noise_rate}]  # fmt: skip
        self.adam = torch.optim.Adam(groups)
        self.weight, self.losses, self.before = settings.weight, list[float](), float("inf")
        self.result: dict[str, Any] = {}
        """What was found, when the search is over."""

    def _values(self) -> list[Tensor]:
        return [*self.logits, self.mean, self.log_variance]

    @property
    def steps(self) -> int:
        """Steps made."""
        return len(self.losses)

    def uniform(self) -> list[Tensor]:
        """What a mixture of tokens, or a choice, is drawn by: shaped as the logits."""
        return [torch.rand(value.shape, generator=self.random).to(value) for value in self.logits]

    def noise(self, count: int) -> Tensor:
        """Standard normal ``(count, ...)`` on the CPU."""
        return torch.randn(count, *self.latents.shape, generator=self.random)

    def shaped(self, noise: Tensor) -> Tensor:
        """Noise from N(mean, variance), of standard normal ``(count, ...)``."""
        return self.mean + (0.5 * self.log_variance).exp() * noise.to(self.mean)

    def choice(self) -> list[Tensor]:
        """A prompt: one-hot ``(1, tokens, choices)`` for each alphabet."""
        return [chosen(own, drawn)[None] for own, drawn in zip(self.logits, self.uniform(), strict=True)]

    def divergence(self) -> float:
        """How far its noise is from usual noise."""
        return float(divergence(self.mean[None].double(), self.log_variance[None].double())[0])

    def move(self, gradients: Sequence[Tensor], error: float) -> None:
        """A step of Adam on error and weighed divergence; then the weight changes.

        Args:
            gradients: of the error, for logits, mean and logarithm of the variance.
            error: before the step.
        """
        with torch.enable_grad():
            ends = [value.detach().requires_grad_() for value in (self.mean, self.log_variance)]
            bound = self.weight * divergence(ends[0][None], ends[1][None])[0]
            extra = torch.autograd.grad(bound, ends)
        values = self._values()
        for value, gradient in zip(values, gradients, strict=True):
            value.grad = gradient.clone()
        for value, more in zip(values[-2:], extra, strict=True):
            assert value.grad is not None
            value.grad += more
        self.adam.step()
        self.losses.append(error)
        if self.steps % self.settings.every == 0 and not self._gains():
            self.weight /= 2.0
        else:
            self.weight += self.settings.rise

    def _gains(self) -> bool:
        recent = self.losses[-self.settings.window :]
        now = sum(recent) / len(recent)
        gains, self.before = self.before - now >= self.settings.least_gain, now
        return gains

    def state(self) -> dict[str, Any]:
        """All that further steps depend on; of a search that is over, what was found."""
        if self.result:
            return {"result": self.result}
        return {
            "logits": self.logits,
            "noise": [self.mean, self.log_variance],
            "adam": self.adam.state_dict(),
            "random": self.random.get_state(),
            "weight": self.weight,
            "losses": self.losses,
            "before": self.before,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whose tensors may be on another device."""
        self.result = dict(state.get("result", {}))
        if self.result:
            return
        with torch.no_grad():
            for value, kept in zip(self._values(), (*state["logits"], *state["noise"]), strict=True):
                value.copy_(kept)
        self.adam.load_state_dict(state["adam"])
        self.random.set_state(state["random"])
        self.weight, self.losses, self.before = state["weight"], list(state["losses"]), state["before"]
