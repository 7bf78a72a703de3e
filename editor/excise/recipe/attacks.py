"""How models are asked for the images: `[attack]`, and in it a section for each attack that searches."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from excise.recipe.fields import Positive, Section

CURVE = (1, 10, 25, 50, 100, 200)


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


def _no_more(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("none twice")
    return values


def _some_once(ways: tuple[Any, ...]) -> tuple[Any, ...]:
    if not ways or len(set(ways)) < len(ways):
        raise ValueError("at least one, and none twice")
    return ways


class StepwiseSearch(Search):
    """A search that goes step by step: with enough steps any image comes back, so it is looked at along the way."""

    steps: Positive = 50
    """Steps of the search."""
    curve: Annotated[tuple[Positive, ...], AfterValidator(_rising)] = CURVE
    """Steps after which what was found so far is drawn with; those beyond ``steps`` are left out, ``steps`` is always
    there."""

    @property
    def points(self) -> tuple[int, ...]:
        """The curve as far as the steps go."""
        return (*(point for point in self.curve if point < self.steps), self.steps)


class Revive(Search):
    """Zeros of the weights that an edit may change, filled from the file alone; then replay."""

    fills: Annotated[tuple[Literal["rows", "neighbours", "least_squares"], ...], AfterValidator(_some_once)] = (
        "rows",
        "neighbours",
        "least_squares",
    )
    """What goes where a zero is: the mean of its row, the mean of the nearest values in its row that are none, or what
    the matrix would hold if it were of low rank, by least squares weighted with what neurons do at the empty prompt."""
    rank: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25
    """Rank of that fit, as a share of the matrix's smaller side."""
    rounds: Positive = 20
    """How often fit and filling take turns."""
    ordinary: Positive = 2
    """Images of the empty prompt that the neurons are watched on."""
    steps: Positive = 10
    """Steps of each of them."""

    @property
    def variants(self) -> tuple[str, ...]:
        """The fills."""
        return self.fills

    def calls(self, variant: str) -> int:
        """Once for all images of a chunk."""
        return -(-self.ordinary * self.steps // self.chunk) if variant == "least_squares" else 0


class Samplers(Search):
    """Replay by other samplers than the recipe's, and from the training image itself under noise."""

    guidance: Annotated[tuple[Annotated[float, Field(ge=0.0)], ...], AfterValidator(_no_more)] = (1.0, 2.0, 5.0, 10.0)
    """Guidance scales."""
    other_steps: Annotated[tuple[Positive, ...], AfterValidator(_no_more)] = (10, 100)
    """Numbers of denoising steps."""
    schedulers: Annotated[tuple[str, ...], AfterValidator(_no_more)] = (
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
    )
    """Classes of diffusers that are compatible with the model's own; none for flow matching."""
    strengths: Annotated[tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...], AfterValidator(_no_more)] = (
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
    )
    """Shares of the steps that are made of the noised training image. Any denoiser restores a slightly noised image,
    whether it has seen it or not: only beside the twin or never-seen images does it mean anything."""

    @property
    def variants(self) -> tuple[str, ...]:
        """A kind and a value each: ``guidance-7.5``, ``steps-10``, ``scheduler-DDIMScheduler``, ``image-0.5``."""
        return (
            *(f"guidance-{value:g}" for value in self.guidance),
            *(f"steps-{value}" for value in self.other_steps),
            *(f"scheduler-{value}" for value in self.schedulers),
            *(f"image-{value:g}" for value in self.strengths),
        )

    def calls(self, variant: str) -> int:
        """Of other numbers of steps, all of them: what is more than the recipe's steps is not known here."""
        kind, _, value = variant.partition("-")
        return self.seeds * int(value) if kind == "steps" else 0

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.variants:
            raise ValueError("no guidance, other_steps, schedulers or strengths: name some, or leave the attack out")
        return self


def _each_once(methods: tuple[str, ...]) -> tuple[str, ...]:
    if "replay" not in methods or len(set(methods)) < len(methods):
        raise ValueError("replay must be among the attacks, and none twice")
    return methods


class Attack(Section):
    """How base, edited model and controls are asked for the images."""

    methods: Annotated[tuple[Literal["replay", "revive", "samplers"], ...], AfterValidator(_each_once)] = ("replay",)
    """``replay`` asks for each training caption as it stands. It is always made: ordinary prompts are asked by it.
    ``revive`` fills zeros first; ``samplers`` asks by other samplers, and from the noised training image."""
    revive: Revive = Revive()
    samplers: Samplers = Samplers()

    def settings(self, name: str) -> Search | None:
        """The section of an attack; None for one that has no settings."""
        found = getattr(self, name, None)
        return found if isinstance(found, Search) else None
