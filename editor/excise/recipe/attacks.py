"""How models are asked for the images: `[attack]`, and in it a section for each attack that searches."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from excise.recipe.fields import Positive, Section

CURVE = (1, 10, 25, 50, 100, 200)


def _no_twice(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("none twice")
    return names


class Search(Section):
    """What the section of every attack that searches may say; an attack's own section adds its settings.

    Its budget is fixed here, before anything is searched for: nothing that an edit does can change it.
    """

    MODELS: ClassVar[tuple[str, ...]] = ("base", "edited", "twin")
    """Models that are attacked so. What a search brings back from a random edit says nothing that the base does not."""

    images: Positive | None = None
    """Images attacked of each question (located verbatim, held-out template, …), one of each template before a second
    of any; left out, all. The first ones of the table: nothing chooses them."""
    kinds: tuple[Literal["verbatim", "template"], ...] = ("verbatim", "template")
    """Kinds of memorized prompt that are attacked."""
    seeds: Positive = 2
    """Images drawn with each trigger."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the search: its timesteps, noise and random starts."""
    chunk: Positive = 18
    """Images searched for together. A killed attack resumes at the last chunk; it changes no result beyond rounding."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Ways in which it is made, each of which is an attack of its own: starts, guidance scales, …"""
        return ("",)

    @property
    def points(self) -> tuple[int, ...]:
        """Steps at which what was found is drawn with; none where there are no steps to count."""
        return ()

    def calls(self, variant: str) -> int:
        """Denoiser calls that searching for one image takes, in those of drawing: what the job's time is told by."""
        return 0


def _rising(curve: tuple[int, ...]) -> tuple[int, ...]:
    if not curve or list(curve) != sorted(set(curve)):
        raise ValueError("the steps of a curve rise, and there is at least one")
    return curve


class StepwiseSearch(Search):
    """A search that goes step by step: with enough steps any image comes back, so it is looked at along the way."""

    steps: Positive = 50
    """Steps of the search; with fewer than the curve's first it would show nothing."""
    curve: Annotated[tuple[Positive, ...], AfterValidator(_rising)] = CURVE
    """Steps after which what was found so far is drawn with; those beyond ``steps`` are left out, ``steps`` is always
    there."""

    @model_validator(mode="after")
    def _reaches(self) -> Self:
        if self.steps < self.curve[0]:
            raise ValueError(
                f"steps = {self.steps} never reaches the first point of the curve, {self.curve[0]}; raise steps, or "
                "give a curve that begins earlier"
            )
        return self

    @property
    def points(self) -> tuple[int, ...]:
        """The curve as far as the steps go."""
        return (*(point for point in self.curve if point < self.steps), self.steps)


class Embedding(StepwiseSearch):
    """Settings of the attack ``embedding``: search for what the denoiser is to be told, no text that there could be."""

    starts: Annotated[
        tuple[Literal["caption", "empty", "other", "gaussian"], ...], Field(min_length=1), AfterValidator(_no_twice)
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


def _each_once(methods: tuple[str, ...]) -> tuple[str, ...]:
    if "replay" not in methods or len(set(methods)) < len(methods):
        raise ValueError("replay must be among the attacks, and none twice")
    return methods


class Attack(Section):
    """How base, edited model and controls are asked for the images."""

    methods: Annotated[tuple[Literal["replay", "embedding"], ...], AfterValidator(_each_once)] = ("replay",)
    """``replay`` asks for each training caption as it stands. It is always made: ordinary prompts are asked by it.
    ``embedding`` searches for the text embedding that brings an image back."""
    embedding: Embedding = Embedding()
    """Settings of ``embedding``."""

    def settings(self, name: str) -> Search | None:
        """The section of an attack; None for one that has no settings."""
        found = getattr(self, name, None)
        return found if isinstance(found, Search) else None
