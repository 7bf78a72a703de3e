"""Sections of attacks beside the embedding search: zeros filled, other samplers, training, prompts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from excise.recipe.fields import Positive
from excise.recipe.search import Search, StepwiseSearch, no_twice, rising


class Revive(Search):
    """Zeros of the weights that an edit may change, filled from the file alone; then replay."""

    fills: Annotated[
        tuple[Literal["rows", "neighbours", "least_squares"], ...], Field(min_length=1), AfterValidator(no_twice)
    ] = (
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

    guidance: Annotated[tuple[Annotated[float, Field(ge=0.0)], ...], AfterValidator(no_twice)] = (1.0, 2.0, 5.0, 10.0)
    """Guidance scales."""
    other_steps: Annotated[tuple[Positive, ...], AfterValidator(no_twice)] = (10, 100)
    """Numbers of denoising steps."""
    schedulers: Annotated[tuple[str, ...], AfterValidator(no_twice)] = (
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
    )
    """Classes of diffusers that are compatible with the model's own; none for flow matching."""
    strengths: Annotated[tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...], AfterValidator(no_twice)] = (
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


class Relearn(StepwiseSearch):
    """Training of the denoiser under attack, one image at a time; then replay."""

    on: Annotated[tuple[Literal["other", "itself"], ...], Field(min_length=1), AfterValidator(no_twice)] = (
        "other",
        "itself",
    )
    """What is trained on: another image, of the same set if it has one of another template; the target."""
    curve: Annotated[tuple[Positive, ...], AfterValidator(rising)] = (10, 25, 50, 100, 200)
    """As of every search; one step teaches nothing."""
    chunk: Positive = 1
    """Images whose weights are held together, each three times the denoiser's in float32; more is no faster."""
    samples: Positive = 4
    """Noised versions of the image in each step, each of its own timestep."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-5
    """Of Adam, on all weights of the denoiser, in float32 whatever the model's dtype."""
    gradient_checkpointing: bool = False
    """Keep few activations and compute the others again: a third slower, and for models that a GPU would not hold."""

    @property
    def variants(self) -> tuple[str, ...]:
        """What is trained on."""
        return self.on

    def calls(self, variant: str) -> int:
        """A call of drawing has two rows, guided; a backward pass takes about two forward ones."""
        return 3 * self.steps * self.samples // 2


class PromptSearch(StepwiseSearch):
    """Search for prompts, of tokens that can be typed; all from the caption."""

    ways: Annotated[
        tuple[Literal["gibbs", "gradient", "reword"], ...], Field(min_length=1), AfterValidator(no_twice)
    ] = (
        "gibbs",
        "gradient",
        "reword",
    )
    """``gibbs`` samples the token at a random place by how far the prompt moves the first call; ``gradient`` takes at a
    random place the token, among those that the gradient ranks first, with the least training loss; ``reword`` drops,
    swaps and replaces words, and keeps what has the least."""
    proposals: Positive = 8
    """Texts that are tried in each step, beside the present one."""
    samples: Positive = 4
    """Draws of noise that a text is scored on."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.1
    """Of the sampling of ``gibbs``, in mean scores of what is tried."""
    rows: Positive = 144
    """Noised images in a pass at most; changes no result beyond rounding."""
    synonyms: tuple[tuple[str, ...], ...] = ()
    """Groups of words, in lower case, any of which may stand for the others: ``[["picture", "photo"], ...]``."""

    @property
    def variants(self) -> tuple[str, ...]:
        """The ways."""
        return self.ways

    def calls(self, variant: str) -> int:
        """``gibbs`` scores a text by guided calls, the others by half of one each and another to read it; a gradient is
        three halves."""
        tried = self.steps * (self.proposals + 1)
        if variant == "gibbs":
            return tried * self.samples
        return tried * (self.samples + 1) // 2 + (3 * self.steps * self.samples // 2 if variant == "gradient" else 0)
