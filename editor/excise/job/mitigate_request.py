"""What a user asks a comparison without an edit for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excise.checkpoint import Checkpoint
from excise.job.draft import validated
from excise.job.texts import check_texts
from excise.measures.replication import Rule
from excise.mitigations import MITIGATIONS, Mitigating
from excise.recipe import Validate


@dataclass(frozen=True)
class MitigateRequest:
    """What a user asks for; None takes the checkpoint's own."""

    checkpoint: Path
    prompts: Path
    """Table of memorized prompts with their training images."""
    ordinary: Path
    """Table of ordinary prompts: of what use is what is drawn, and what magnitude is usual."""
    out: Path
    edited: Path | None = None
    twin: Path | None = None
    judge: Path | None = None
    arms: tuple[str, ...] = tuple(MITIGATIONS)
    images: int = 16
    """Prompts of each table, the first ones."""
    seeds: int = 2
    target: float | None = None
    """Magnitude at which a prompt is left alone; None takes the median of the ordinary ones."""
    iterations: int = Mitigating.iterations
    rate: float = Mitigating.rate
    tokens: int = Mitigating.tokens
    threshold: float = 0.15
    ssim: float | None = None
    steps: int | None = None
    guidance: float | None = None
    size: int | None = None
    batch: int = 16
    model: dict[str, Any] = field(default_factory=dict)
    fresh: bool = False

    @property
    def rule(self) -> Rule:
        """When an image is its training image."""
        validated(Validate, {"threshold": self.threshold, "ssim": self.ssim})
        return Rule(self.threshold, self.ssim, Validate().tiles)


def check_mitigated(checkpoint: Checkpoint) -> None:
    """Refuse a model for which these ways do not exist.

    Raises:
        ExciseError: it is never called without the text, or no tokens can be put into its prompts.
    """
    check_texts(checkpoint, "there is no magnitude to lower", "into which no tokens are put")
