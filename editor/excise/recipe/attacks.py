"""How models are asked for the images: `[attack]`, and in it a section for each attack that searches."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

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


def _each_once(methods: tuple[str, ...]) -> tuple[str, ...]:
    if "replay" not in methods or len(set(methods)) < len(methods):
        raise ValueError("replay must be among the attacks, and none twice")
    return methods


class Attack(Section):
    """How base, edited model and controls are asked for the images."""

    methods: Annotated[tuple[Literal["replay"], ...], AfterValidator(_each_once)] = ("replay",)
    """``replay`` asks for each training caption as it stands. It is always made: ordinary prompts are asked by it."""

    def settings(self, name: str) -> Search | None:
        """The section of an attack; None for one that has no settings."""
        found = getattr(self, name, None)
        return found if isinstance(found, Search) else None
