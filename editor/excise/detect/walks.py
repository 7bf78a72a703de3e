"""Walks among texts, from nothing to prompts that move a model's first call far: Gibbs sampling, many side by side.

All that is random in a step depends on the seed, the walk's number and the step's alone, so that what a search has come
to is its texts and nothing else: stopped after any step, it goes on to the same texts.

Three things are not MemBench's. Half of the tokens that are tried are those that the gradient ranks first, in place of
a language model's proposals. What is the same everywhere, a colour, does not count, else walks go to plain grounds.
And walks keep apart: of what a text changes, only that counts which is across the changes that the walks which have
ended came to, so that the next ones look for other pictures instead of the loudest again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from pydantic import ValidationError
from torch import Tensor

from excise.attacks.gibbs import drawn_text, noise_keys, replacements, slopes, surprises
from excise.diffusion.denoise import noise_key
from excise.diffusion.differences import across, even_directions, guided_gaps
from excise.diffusion.tokens import Vocabulary
from excise.errors import ExciseError
from excise.files.models import Part
from excise.files.writing import write_text
from excise.recipe import Sampling

GRADIENT = 3
"""Denoiser calls that one forward and one backward pass take about as long as."""
LEAST_ACROSS = 1e-3
"""Share of a change that must be across those before for it to be a direction of its own."""


@dataclass(frozen=True)
class WalkSettings:
    """How texts are walked among. Changing any of it changes what is found."""

    sampling: Sampling
    """Steps of the trajectory whose first call is looked at, size, and how many texts go together."""
    together: int = 8
    """Walks side by side."""
    tokens: int = 8
    """Of each text."""
    steps: int = 24
    """Of a walk; then another begins elsewhere."""
    proposals: int = 16
    """Texts that are tried in each step, beside the present one: half by the gradient, half random."""
    samples: int = 1
    """Draws of noise that a text is scored on."""
    temperature: float = 0.1
    """In mean scores of what is tried."""
    apart: int = 256
    """Directions that walks keep apart from, at most: those of the walks that ended last; 0 lets each go anywhere."""
    seed: int = 0


class Walk(Part):
    """One walk."""

    start: str
    """Random tokens: the control of what is found."""
    text: str
    """Where it is."""
    best: str
    """The text of the largest score so far, which is what is drawn."""
    score: float
    """Of ``best``: the mean square of what the text adds to the first call, less what is the same everywhere, across
    what was found before."""


class Walked(Part):
    """What a search has come to, in one model."""

    first: int = 0
    """Number of the first of the present walks."""
    step: int = 0
    """Steps that these have made."""
    evaluations: int = 0
    """Texts scored, each on one noise: a guided denoiser call each. A gradient counts as `GRADIENT` of them."""
    seconds: float = 0.0
    """That the search took, over all its starts."""
    walks: tuple[Walk, ...] = ()
    """Those that are under way."""
    ended: tuple[Walk, ...] = ()

    @property
    def all(self) -> tuple[Walk, ...]:
        """Those that ended, and those under way."""
        return (*self.ended, *self.walks)

    @classmethod
    def read(cls, path: Path) -> Walked:
        """What a file holds; nothing yet, where there is none.

        Raises:
            ExciseError: the file is none of a search.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except (ValidationError, OSError) as error:
            raise ExciseError(
                f"{path}: is not what a search came to; choose another --out, or search with --fresh"
            ) from error

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, self.model_dump_json(indent=1) + "\n")


def walk_on(pipeline: DiffusionPipeline, settings: WalkSettings, walked: Walked) -> Iterator[Walked]:
    """Go on without an end; what was come to after each step. Its seconds are the caller's to tell.

    Args:
        pipeline: a guided one, whose prompts can be typed.
        settings: how.
        walked: what was come to.

    Raises:
        ExciseError: numbers that are not finite; texts that change nothing.
    """
    vocabulary, even = Vocabulary(pipeline), even_directions(pipeline, settings.sampling)
    apart = even
    for start in range(
        0, len(walked.ended), settings.together
    ):  # as they ended: the same rows in a batch, the same bits
        apart = _kept_apart(pipeline, settings, walked.ended[start : start + settings.together], apart, even)
    while True:
        if not walked.walks or walked.step >= settings.steps:
            apart = _kept_apart(pipeline, settings, walked.walks, apart, even)
            walked = _begun(vocabulary, settings, walked)
        walked = _stepped(pipeline, vocabulary, settings, walked, apart)
        yield walked


def _kept_apart(
    pipeline: DiffusionPipeline, settings: WalkSettings, ended: Sequence[Walk], apart: Tensor, even: Tensor
) -> Tensor:
    """The directions to keep apart from, with those that walks which end came to: ``(directions, numbers)``; the first
    are always those of what is the same everywhere."""
    if not ended or not settings.apart:
        return apart
    keys = [noise_key("", settings.seed)] * len(ended)
    for gap in guided_gaps(pipeline, [walk.best for walk in ended], keys, settings.sampling):
        rest = across(across(gap[None], apart)[0][None], apart)[0]  # twice: once leaves rounding
        if float(rest.norm()) > LEAST_ACROSS**0.5 * float(gap.norm()):
            found = torch.cat([apart[len(even) :], (rest / rest.norm())[None]])
            apart = torch.cat([even, found[-settings.apart :]])
    return apart


def _begun(vocabulary: Vocabulary, settings: WalkSettings, walked: Walked) -> Walked:
    """The present walks end, and others begin."""
    first = walked.first + len(walked.walks)
    starts = [
        vocabulary.random_text(settings.tokens, _random(settings.seed, first + place, "start"))
        for place in range(settings.together)
    ]
    walks = tuple(Walk(start=text, text=text, best=text, score=0.0) for text in starts)
    return walked.model_copy(update={"first": first, "step": 0, "walks": walks, "ended": walked.all})


def _stepped(
    pipeline: DiffusionPipeline, vocabulary: Vocabulary, settings: WalkSettings, walked: Walked, apart: Tensor
) -> Walked:
    """Every walk makes a step; what they try is scored together."""
    random = [_random(settings.seed, walked.first + place, walked.step) for place in range(len(walked.walks))]
    keys = [noise_keys(settings.samples, own) for own in random]
    texts, first = [walk.text for walk in walked.walks], [own[0] for own in keys]
    ranks = slopes(pipeline, vocabulary, texts, first, settings.sampling, apart)
    steep, even = settings.proposals // 2, settings.proposals - settings.proposals // 2
    tried = [
        list(
            dict.fromkeys(replacements(vocabulary, text, steep, own, order) + replacements(vocabulary, text, even, own))
        )
        for text, own, order in zip(texts, random, ranks, strict=True)
    ]
    scores = surprises(pipeline, tried, keys, settings.sampling, apart)
    walks = []
    for walk, made, found, own in zip(walked.walks, tried, scores, random, strict=True):
        if not bool(found.isfinite().all()):
            raise ExciseError(f"{made[0]!r} and what is near it: scores are not finite; use --dtype float32")
        chosen = drawn_text(found, settings.temperature, own)
        if chosen is None:
            raise ExciseError(f"denoiser: with {made[0]!r} and what is near it the text changes nothing")
        best = int(found.argmax())
        better = {"best": made[best], "score": float(found[best])} if found[best] > walk.score else {}
        walks.append(walk.model_copy(update={"text": made[chosen], **better}))
    update = {
        "step": walked.step + 1,
        "evaluations": walked.evaluations + settings.samples * sum(map(len, tried)) + GRADIENT * len(texts),
        "walks": tuple(walks),
    }
    return walked.model_copy(update=update)


def _random(seed: int, walk: int, step: int | str) -> torch.Generator:
    digest = hashlib.sha256(f"search\n{seed}\n{walk}\n{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
