"""What the section of every attack that searches may say."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from excise.recipe.fields import Positive, Section

CURVE = (1, 10, 25, 50, 100, 200)


def no_twice(names: tuple[Any, ...]) -> tuple[Any, ...]:
    """The names, if none is there twice.

    Raises:
        ValueError: one is.
    """
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


def rising(curve: tuple[int, ...]) -> tuple[int, ...]:
    """The points of a curve, if they rise.

    Raises:
        ValueError: they do not, or there is none.
    """
    if not curve or list(curve) != sorted(set(curve)):
        raise ValueError("the steps of a curve rise, and there is at least one")
    return curve


class StepwiseSearch(Search):
    """A search that goes step by step: with enough steps any image comes back, so it is looked at along the way."""

    steps: Positive = 50
    """Steps of the search; with fewer than the curve's first it would show nothing."""
    curve: Annotated[tuple[Positive, ...], AfterValidator(rising)] = CURVE
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
