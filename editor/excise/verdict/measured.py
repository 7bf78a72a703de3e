"""What was measured of every image, as models: in measures.json, from which the numbers of verdict.json are made."""

from __future__ import annotations

from pydantic import Field

from excise.files.models import Part


class AskedPrompt(Part):
    """A prompt of a question."""

    prompt: str
    group: str
    kind: str


class AskedSet(Part):
    """What every model was asked."""

    prompts: tuple[AskedPrompt, ...]
    seeds: tuple[int, ...]


PerImage = tuple[tuple[float, ...], ...]
"""One number per image: prompts, each with its seeds."""


class Measured(Part):
    """Every image of one model and question."""

    distance: PerImage
    ssim: PerImage
    identified: tuple[tuple[bool, ...], ...] | None
    """Whether its own training image is the nearest of the set; None where the set has no other."""
    sscd: PerImage | None


Agrees = tuple[tuple[bool, ...] | None, ...]
"""Whether the judge agrees, by prompt and seed; None for a prompt whose caption it has no answer for."""


class ModelMeasures(Part):
    """Every image of one model."""

    sets: dict[str, Measured]
    other_attacks: dict[str, dict[str, Measured]] = Field(default_factory=dict)
    """By attack, then by question; ``sets`` is what replay drew."""
    agrees: Agrees | None
    """Of the judged prompts; None without a judge."""
    neighbours_agree: Agrees | None
    """Of the neighbours; None without a judge or without neighbours."""
    concept_agrees: dict[str, Agrees] = Field(default_factory=dict)
    """Whether the judge reads the concept that is to be forgotten, by question; empty without one or a judge."""
    concept_searched: dict[str, dict[str, Agrees]] = Field(default_factory=dict)
    """Whether it reads it off what searches drew, by attack, then by question; None for a prompt whose picture by the
    base, which was searched for, does not show it."""


class Measures(Part):
    """measures.json."""

    sets: dict[str, AskedSet]
    models: dict[str, ModelMeasures]
