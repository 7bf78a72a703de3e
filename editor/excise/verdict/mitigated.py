"""What ways of drawing do without an edit, as numbers: ``mitigate.json``."""

from __future__ import annotations

from excise.files.models import Count, Part
from excise.verdict.models import Agreement
from excise.verdict.searched import Estimate


class Arm(Part):
    """One way of drawing, or one model."""

    replicated: Estimate
    """Share of the memorized prompts' images that are their training image; the interval is over training images."""
    agreement: Agreement | None
    """Of ordinary prompts drawn the same way; None without a judge."""
    drift: Estimate | None
    """Of these, in distances between the base's seeds; None for the base."""
    calls: float
    """Guided denoiser calls of an image of a memorized prompt, drawing included."""
    gradients: float
    """Of these, those that were differentiated."""
    ordinary_gradients: float
    """The same of an ordinary prompt's image: it pays too where its magnitude is above the target."""


class Mitigated(Part):
    """All arms."""

    checkpoint: str
    target: float
    """Magnitude at which embeddings are left alone."""
    iterations: Count
    tokens: Count
    memorized: Count
    """Prompts."""
    ordinary: Count
    seeds: Count
    arms: dict[str, Arm]
