"""Searching for inputs of several images at once, testing what was found by drawing with it, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.detect.inversion import Candidate, Objective
from excise.detect.settings import AuditSettings
from excise.diffusion.denoise import denoise, in_batches
from excise.diffusion.latents import latents_of
from excise.diffusion.load import denoiser
from excise.diffusion.text_inputs import text_replaced
from excise.errors import ExciseError
from excise.files.trees import read_tree, write_tree
from excise.measures.replication import Target
from excise.recipe import Sampling
from excise.run.progress import Bar


@dataclass(frozen=True)
class Inverted:
    """What was found for an image."""

    divergence: float
    """Of the noise from usual noise, when all draws first replicated the image; smaller is more memorized, infinite
    where they never did."""
    steps: int
    """After which that was, or all that were made."""
    guidance: float
    """The scale at which they did, or came nearest."""
    probability: float
    """Share of pictures that replicate, prompt and noise drawn anew from what was learnt."""
    plain: float
    """The same with usual noise: what the prompt does alone."""
    distance: float
    """Tiled l2 of the median picture."""
    ssim: float
    """Structural similarity of the median picture."""
    text: str
    """The likeliest token at each place, in words; of each vocabulary."""
    pictures: Tensor
    """uint8 ``(draws, 3, height, width)``, those that ``probability`` counts."""

    def document(self) -> dict[str, Any]:
        """As JSON, in which what was not found is null."""
        found = math.isfinite(self.divergence)
        kept = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "pictures"}
        return kept | {"found": found, "divergence": self.divergence if found else None}


def invert(
    pipeline: DiffusionPipeline,
    images: Sequence[tuple[str, Target]],
    sampling: Sampling,
    settings: AuditSettings,
    file: Path,
    bar: Bar,
) -> list[Inverted]:
    """Search for inputs of some images, all in one batch.

    Args:
        pipeline: the model.
        images: each with what its randomness depends on.
        sampling: size, and how many latents go together.
        settings: of the search, and the rule of replication.
        file: where the search is kept, and gone on with; what it is of is the caller's to name it by.
        bar: counts steps.

    Raises:
        ExciseError: a model that cannot be searched; numbers that are not finite.
    """
    chunk = _Chunk(pipeline, images, sampling, settings)
    if file.exists():
        chunk.restore(read_tree(file))
        bar.update(chunk.done)
    while not chunk.over:
        before = chunk.done
        chunk.advance()
        write_tree(file, chunk.state())
        bar.update(chunk.done - before)
    if rest := settings.inversion.steps - chunk.done:
        bar.update(rest)
    return [Inverted(**one.result) for one in chunk.candidates]


class _Chunk:
    """Images that are searched for together."""

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        images: Sequence[tuple[str, Target]],
        sampling: Sampling,
        settings: AuditSettings,
    ) -> None:
        self.pipeline, self.settings, self.rule = pipeline, settings.inversion, settings.rule
        self.sampling = sampling.model_copy(update={"steps": self.settings.drawing})
        self.objective = Objective(pipeline, sampling, self.settings)
        shapes = self.objective.reader.shapes()
        self.candidates = [
            Candidate(key, latents_of(pipeline, target.image), shapes, self.settings) for key, target in images
        ]
        self.targets = [target for _, target in images]
        self.done, self.size = 0, sampling.batch

    @property
    def over(self) -> bool:
        """Whether every image has its result."""
        return all(one.result for one in self.candidates)

    def advance(self) -> None:
        """Search up to the next test, and test."""
        stop = min(self.done + self.settings.every, self.settings.steps)
        active = [place for place, one in enumerate(self.candidates) if not one.result]
        while self.done < stop:
            self._step([self.candidates[place] for place in active])
            self.done += 1
        passed = self._test(active)
        for place in active:
            scale, all_replicate = passed[place]
            if all_replicate or self.done == self.settings.steps:
                self.candidates[place].result = self._result(place, scale, all_replicate)

    def _step(self, active: Sequence[Candidate]) -> None:
        samples, process = self.settings.samples, self.objective.loss.process
        times = torch.stack([process.draw(samples, one.random) for one in active])
        noise = torch.stack([one.noise(samples) for one in active])
        uniform = [torch.stack(parts) for parts in zip(*(one.uniform() for one in active), strict=True)]
        logits = [torch.stack(parts) for parts in zip(*(one.logits for one in active), strict=True)]
        mean, log_variance, latents = (
            torch.stack([getattr(one, name) for one in active]) for name in ("mean", "log_variance", "latents")
        )
        (by_logits, by_mean, by_variance), errors, self.size = self.objective.gradients(
            logits, mean, log_variance, latents, uniform, noise, times, self.size
        )
        for i, one in enumerate(active):
            own = [*(gradient[i] for gradient in by_logits), by_mean[i], by_variance[i]]
            one.move(own, float(errors[i]))

    def _test(self, active: Sequence[int]) -> dict[int, tuple[float, bool]]:
        """Of each image the first scale at which all draws of one prompt replicate it, and whether there is one; else
        that of the nearest picture. Where the first draw does not, the others are not made: nothing is changed by it.
        """
        told, noise, nearest, found = {}, {}, dict[int, tuple[float, float]](), dict[int, tuple[float, bool]]()
        for place in active:
            one = self.candidates[place]
            with torch.no_grad():
                told[place] = self.objective.reader.told(one.choice())
            noise[place] = one.shaped(one.noise(self.settings.draws))
        for scale in self.settings.guidance:
            left = [place for place in active if place not in found]
            for first, last in ((0, 1), (1, self.settings.draws)):
                pairs = [(place, number) for place in left for number in range(first, last)]
                drawn = self._draw([told[place] for place, _ in pairs], [noise[i][j] for i, j in pairs], scale)
                for at, place in enumerate(left):
                    part = drawn[at * (last - first) : (at + 1) * (last - first)]
                    distance, similarity = self.rule.compare(part, self.targets[place])
                    if last - first and not bool(self.rule.holds(distance, similarity).all()):
                        near = (float(distance.min()), scale)
                        nearest[place] = min(near, nearest.get(place, near))
                        left = [other for other in left if other != place]
            found |= {place: (scale, True) for place in left}
        return {place: found.get(place) or (nearest[place][1], False) for place in active}

    def _result(self, place: int, scale: float, found: bool) -> dict[str, Any]:
        one, count, reader = self.candidates[place], self.settings.draws, self.objective.reader
        with torch.no_grad():
            told = [reader.told(one.choice()) for _ in range(count)]
        noise = one.noise(count)
        drawn = self._draw(told, list(one.shaped(noise)), scale)
        distance, similarity = self.rule.compare(drawn, self.targets[place])
        plain = self._draw(told, list(noise), scale)
        words = [
            part.vocabulary.words(part.vocabulary.seen[own.argmax(dim=1).cpu()].tolist())
            for part, own in zip(reader.alphabets, one.logits, strict=True)
        ]
        return {
            "divergence": one.divergence() if found else math.inf,
            "steps": one.steps,
            "guidance": scale,
            "probability": float(self.rule.holds(distance, similarity).float().mean()),
            "plain": float(self.rule.replicated(plain, self.targets[place]).float().mean()),
            "distance": float(distance.median()),
            "ssim": float(similarity.median()),
            "text": " | ".join(words),
            "pictures": (255 * drawn.clamp(0.0, 1.0)).round().to(torch.uint8),
        }

    def _draw(self, told: Sequence[Mapping[str, Tensor]], noise: Sequence[Tensor], scale: float) -> Tensor:
        """A picture of each text input and noise: float ``(pictures, 3, height, width)`` in [0, 1]."""
        sampling = self.sampling.model_copy(update={"guidance": scale})
        text, network = self.objective.reader.text, denoiser(self.pipeline)

        def make(start: int, stop: int) -> Tensor:
            rows = {name: torch.cat([part[name] for part in told[start:stop]]) for name in told[0]}
            latents = torch.stack(list(noise[start:stop])).to(next(network.parameters()).dtype)
            count = stop - start
            with text_replaced(self.pipeline, rows):
                return denoise(
                    self.pipeline, [text] * count, list(range(start, stop)), sampling, start={"latents": latents}
                )

        if not told:
            return torch.empty(0)
        found = torch.cat(list(in_batches(make, [0] * len(told), sampling.batch)))
        if not bool(found.isfinite().all()):
            raise ExciseError("model.dtype: what is drawn with what was found is not finite; use --dtype float32")
        return found

    def state(self) -> dict[str, Any]:
        """All that going on depends on."""
        return {"done": self.done, "size": self.size, "images": [one.state() for one in self.candidates]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.done, self.size = state["done"], state["size"]
        for one, kept in zip(self.candidates, state["images"], strict=True):
            one.restore(kept)
