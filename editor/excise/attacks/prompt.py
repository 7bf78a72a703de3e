"""Prompt search: other prompts that bring an image back, of real tokens, so that whoever has a page to type into could.

Three ways, all from the caption, all against the model under attack. ``gibbs`` follows MemBench's search (Hong et al.,
2407.17095) with the checkpoint's own vocabulary in place of a language model's proposals; it needs no image.
``gradient`` ranks tokens by the gradient at their embeddings; ``reword`` drops, swaps and replaces words. In these two
the training loss of the image decides.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.attacks.base import Budget, Found, Target, Trigger
from excise.attacks.gibbs import drawn_text, noise_keys, ranked, replacements, surprises
from excise.attacks.replay import draw
from excise.diffusion.gradients import TextLoss, in_halves
from excise.diffusion.latents import latents_of
from excise.diffusion.load import denoiser
from excise.diffusion.tokens import Vocabulary
from excise.errors import ExciseError
from excise.prompts.rewording import reworded
from excise.recipe import PromptSearch

__all__ = ["draw", "find"]


@dataclass
class Chain:
    """The search for one target."""

    target: Target
    random: torch.Generator
    text: str
    """Where it is."""
    best: str
    """What it would be drawn with."""
    score: float = -torch.inf
    """Of ``best``, under ``gibbs``, where scores of different steps are compared."""
    proposed: list[str] = field(default_factory=list)


def find(pipeline: DiffusionPipeline, targets: Sequence[Target], budget: Budget) -> Generator[Found, None, None]:
    """A prompt for each target: at each step a few proposals, of which scores choose.

    Raises:
        ExciseError: a pipeline that is not searched so.
    """
    search, done = _Search(pipeline, budget, targets), 0
    for point in budget.points:
        for _ in range(point - done if targets else 0):
            search.step()
        done = point
        yield Found(point, [Trigger(chain.target.prompt, chain.best) for chain in search.chains])


class _Search:
    def __init__(self, pipeline: DiffusionPipeline, budget: Budget, targets: Sequence[Target]) -> None:
        settings = budget.settings
        if not isinstance(settings, PromptSearch):
            raise TypeError("the budget of a prompt search is the section attack.prompt")
        self.pipeline, self.budget, self.settings = pipeline, budget, settings
        self.vocabulary = Vocabulary(pipeline)
        self.chains = [
            Chain(target, torch.Generator().manual_seed(budget.key(target)), target.prompt.text, target.prompt.text)
            for target in targets
        ]
        self.together = max(1, settings.rows // settings.samples)  # texts that are scored in a pass
        self.latents = torch.empty(0)
        if targets and budget.variant != "gibbs":
            self.latents = torch.stack([latents_of(pipeline, _image_of(target)) for target in targets])

    def step(self) -> None:
        """Every chain makes a step; what they propose is scored together."""
        way = self.budget.variant
        ranked: Sequence[Tensor | None] = self._ranked() if way == "gradient" else [None] * len(self.chains)
        for chain, ranks in zip(self.chains, ranked, strict=True):
            made = self._reworded(chain) if way == "reword" else self._replacements(chain, ranks)
            chain.proposed = list(dict.fromkeys(made))
        scores = self._surprises() if way == "gibbs" else [-row for row in self._losses()]
        for chain, found in zip(self.chains, scores, strict=True):
            self._choose(chain, found)

    def _choose(self, chain: Chain, scores: Tensor) -> None:
        """Sampled of a softmax under ``gibbs``, else the best; the present text is the first of what is proposed."""
        if self.budget.variant != "gibbs":
            chain.text = chain.best = chain.proposed[int(scores.argmax())]
            return
        best = int(scores.argmax())
        if scores[best] > chain.score:
            chain.best, chain.score = chain.proposed[best], float(scores[best])
        chosen = drawn_text(scores, self.settings.temperature, chain.random)
        if chosen is None:
            raise ExciseError(
                f"denoiser: with {chain.text!r} and what is near it the text changes nothing: leave 'gibbs' out of "
                "attack.prompt.ways"
            )
        chain.text = chain.proposed[chosen]

    def _reworded(self, chain: Chain) -> list[str]:
        settings = self.settings
        made = (reworded(chain.text, settings.synonyms, chain.random) for _ in range(settings.proposals))
        return [chain.text, *(text for text in made if text)]

    def _replacements(self, chain: Chain, ranks: Tensor | None) -> list[str]:
        """The text with another token at one random place; as `excise.attacks.gibbs.replacements`."""
        return replacements(self.vocabulary, chain.text, self.settings.proposals, chain.random, ranks)

    def _surprises(self) -> list[Tensor]:
        """For each chain what the text changes at the first call, for each of its proposals, on noise of this step."""
        keys = [noise_keys(self.settings.samples, chain.random) for chain in self.chains]
        return surprises(self.pipeline, [chain.proposed for chain in self.chains], keys, self.budget.sampling)

    def _losses(self) -> list[Tensor]:
        """For each chain the image's training loss with each of its proposals, on noise and timesteps of this step."""
        texts, where = self._flat()
        loss = TextLoss(self.pipeline, texts, self.budget.sampling)
        times, noise = self._noised(loss)
        samples, found, whose = self.settings.samples, torch.zeros(len(texts)), torch.tensor(where)

        def score(start: int, stop: int) -> None:
            own = whose[start:stop]
            rows = loss.rows(
                loss.text,
                self.latents[own.repeat_interleave(samples).to(self.latents.device)],
                noise[own].flatten(0, 1).to(self.latents),
                times[own].flatten(),
                torch.arange(start, stop).repeat_interleave(samples),
            )
            found[start:stop] = rows.view(-1, samples).mean(dim=1).float().cpu()

        with torch.no_grad():
            self.together = in_halves(score, len(texts), self.together)
        if not bool(found.isfinite().all()):
            dtype = str(denoiser(self.pipeline).dtype).removeprefix("torch.")
            cure = "choose a milder edit" if dtype == "float32" else "set model.dtype = 'float32'"
            raise ExciseError(f"denoiser: losses in {dtype} are NaN or infinite; {cure}")
        return self._apart(found)

    def _ranked(self) -> list[Tensor]:
        """For each chain how the loss would change, to first order, with each token at each place: less is better."""
        texts = [chain.text for chain in self.chains]
        loss = TextLoss(self.pipeline, texts, self.budget.sampling)
        times, noise = self._noised(loss)
        wanted, _, _ = loss.gradient(loss.text, self.latents, noise, times, self.settings.rows)
        return list(ranked(self.pipeline, self.vocabulary, texts, wanted))

    def _noised(self, loss: TextLoss) -> tuple[Tensor, Tensor]:
        """Timesteps ``(chains, samples)`` and noise ``(chains, samples, ...)``."""
        samples = self.settings.samples
        times = torch.stack([loss.process.draw(samples, chain.random) for chain in self.chains])
        shape = (samples, *self.latents.shape[1:])
        return times, torch.stack([torch.randn(shape, generator=chain.random) for chain in self.chains])

    def _flat(self) -> tuple[list[str], list[int]]:
        """All proposals, and whose each is."""
        pairs = [(text, place) for place, chain in enumerate(self.chains) for text in chain.proposed]
        return [text for text, _ in pairs], [place for _, place in pairs]

    def _apart(self, scores: Tensor) -> list[Tensor]:
        return list(scores.split([len(chain.proposed) for chain in self.chains]))


def _image_of(target: Target) -> Tensor:
    if target.image is None:
        raise ExciseError(
            f"attack.prompt: {target.prompt.text!r} has no training image to search for; try 'gibbs' alone"
        )
    return target.image
