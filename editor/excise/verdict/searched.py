"""What attacks brought back, image by image, as models: the part of verdict.json that comparisons are made from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from excise.files.models import Count, Hash, Part

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Interval = tuple[float, float] | None
"""Two ends; None where a single case gives none."""
Fate = Literal["still there", "hidden", "gone", "unclear", "not searched"]


class Estimate(Part):
    """A quantity with its 95 % interval."""

    value: float
    interval: Interval


class Point(Part):
    """One attack, made one way, at one point of its curve."""

    attack: str
    variant: str
    """How it was made, its start for instance; empty where there is one way."""
    steps: Count | None
    """Of the search; None where none are counted."""
    seeds: Count
    """Images drawn with what it found."""


class Attacked(Part):
    """A training image, and what each attack drew of it."""

    set: str
    """The question that its prompt is of."""
    cluster: Count
    """Number of its template or image: what shares one is not independent."""
    sha256: Hash
    """Of the training image's file: whoever has it knows which this is, and nobody else does."""
    hits: dict[str, dict[str, Count]]
    """Seeds that replicated it, by attack and point (a key of ``attacks``), then by model."""
    likeness: dict[str, float]
    """By model, how near the nearest of all these images came: structural similarity less tiled distance."""


class Comparison(Part):
    """The edited model against a model that never saw the images, under one attack at one point."""

    attack: str
    """Key of ``attacks``."""
    set: str
    against: Literal["twin", "never_seen"]
    """The twin on the same images; without one, and of relearning, the edited model itself on never-seen images."""
    images: Count
    """Independent ones, compared."""
    base: Estimate | None
    """Rate of the base: an attack that does not bring its images back is too weak to trust. None: it was not asked."""
    edited: Estimate
    control: Estimate
    difference: Estimate
    """Edited less control; 0 or less says that the edited model knows no more."""
    p: Rate
    """Exact permutation test over images that the difference is chance."""
    q: Rate
    """The same, adjusted for all comparisons (Benjamini and Hochberg)."""


class Certificate(Part):
    """What can be said to whoever asked for one image's removal."""

    sha256: Hash
    set: str
    base: Rate | None
    """Share of the base's images of it that replicate under replay; None where it was not asked."""
    attack: str
    """The attack that brought most of it back from the edited model; of equals the first, replay before all."""
    edited: Rate
    """Share of the edited model's images that replicate under it."""
    control: Rate | None
    """The same of the twin; None without one."""
    p: Rate
    """That a model which never saw it comes as near to it, by its rank among such models' images."""
    passes: bool
    """Not told apart from such a model at the recipe's false discovery rate."""


class Membership(Part):
    """What an audit tells of one model: which of a question's images look as if it had been trained on them."""

    scores: tuple[float, ...]
    """Of each image; larger is more like one that was trained on."""
    reference: tuple[float, ...]
    """Of never-seen images, by the same model."""
    called: Rate
    """Share of the images that are called trained on, at the rate of false discoveries."""
    interval: tuple[Rate, Rate] | None
    pairs: Rate
    """Share of pairs of an image and a never-seen one in which the image looks more like one that was trained on."""
    together: float
    """P-value that as a set they look no more so than never-seen ones."""

    @property
    def rate(self) -> Estimate:
        """The share called, with its interval."""
        return Estimate(value=self.called, interval=self.interval)
