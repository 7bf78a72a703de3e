"""How models are asked for the images: `[attack]`, and in it a section for each attack that searches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from excise.recipe.fields import Positive, Section
from excise.recipe.search import Search, StepwiseSearch, no_twice
from excise.recipe.searches import PromptSearch, Relearn, Revive, Samplers


class Embedding(StepwiseSearch):
    """Settings of the attack ``embedding``: search for what the denoiser is to be told, no text that there could be."""

    starts: Annotated[
        tuple[Literal["caption", "empty", "other", "gaussian"], ...], Field(min_length=1), AfterValidator(no_twice)
    ] = ("caption", "empty", "other", "gaussian")
    """Where the search starts, each a search of its own: the image's caption; the empty prompt; the caption of another
    image; normal noise of the mean and deviation of the caption's embedding."""
    samples: Positive = 8
    """Noised versions of the image in each step, each of its own timestep."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.1
    """Of Adam."""
    rows: Positive = 144
    """Noised images in a forward and backward pass at most; halved where memory runs out. Changes no result beyond
    rounding."""
    gradient_checkpointing: bool = False
    """Keep few activations and compute the others again: a third slower, and for models that a GPU would not hold."""

    @property
    def variants(self) -> tuple[str, ...]:
        """The starts."""
        return self.starts

    def calls(self, variant: str) -> int:
        """A call of drawing has two rows, guided; a backward pass takes about two forward ones."""
        return 3 * self.steps * self.samples // 2


AUDIT = "audit"
"""The audit's name in recipes, files and tables: no attack, since nothing is drawn."""


class Audit(Section):
    """Settings of the audit: whether somebody who holds an image can tell that the model was trained on it."""

    images: Positive | None = None
    """Verbatim memorized images of each question that are asked about; left out, all. The never-seen ones, which they
    are held against, are all asked about, by each model."""
    steps: Positive = 20
    """Steps in which what the model is told is fitted to each image, from the empty prompt, as by ``embedding``."""
    samples: Positive = 16
    """Noised latents by which each image is told, where it stands and moved aside in four ways."""
    chunk: Positive = 8
    """Images that are fitted together, and are one partial result."""

    def calls(self) -> int:
        """Denoiser calls of one image, in those of drawing, which have two rows each."""
        return Embedding(steps=self.steps).calls("empty") + 5 * self.samples // 2


def _each_once(methods: tuple[str, ...]) -> tuple[str, ...]:
    if "replay" not in methods or len(set(methods)) < len(methods):
        raise ValueError("replay must be among the attacks, and none twice")
    return methods


class Attack(Section):
    """How base, edited model and controls are asked for the images."""

    methods: Annotated[
        tuple[Literal["replay", "embedding", "revive", "samplers", "relearn", "prompt"], ...],
        AfterValidator(_each_once),
    ] = ("replay",)
    """``replay`` asks for each training caption as it stands. It is always made: ordinary prompts are asked by it.
    ``embedding`` searches for the text embedding that brings an image back; ``prompt`` for a prompt. ``revive`` fills
    zeros first; ``samplers`` asks by other samplers, and from the noised training image; ``relearn`` trains first."""
    embedding: Embedding = Embedding()
    """Settings of ``embedding``."""
    prompt: PromptSearch = PromptSearch()
    """Settings of ``prompt``."""
    relearn: Relearn = Relearn()
    """Settings of ``relearn``."""
    revive: Revive = Revive()
    """Settings of ``revive``."""
    samplers: Samplers = Samplers()
    """Settings of ``samplers``."""
    audit: Audit | None = None
    """If given, base, edited model and twin are also audited for the memorized images, without their captions."""

    def settings(self, name: str) -> Search | None:
        """The section of an attack; None for one that has no settings."""
        found = getattr(self, name, None)
        return found if isinstance(found, Search) else None
