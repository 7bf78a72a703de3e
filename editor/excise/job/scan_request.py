"""What a user asks a scan for, and what that comes to on a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excise.checkpoint import Checkpoint
from excise.detect.ordinary import SHIPPED, drawn_apart, ordinary_captions
from excise.detect.scores import Score, Scoring, chosen, scores_of
from excise.detect.settings import ScanSettings
from excise.diffusion.denoise import calls_of
from excise.errors import ExciseError
from excise.job.draft import asked_sampling, validated
from excise.mathematics.detection import least_null
from excise.prompts.streams import Caption
from excise.recipe import Sampling, Validate
from excise.sources.captions import open_captions


@dataclass(frozen=True)
class ScanRequest:
    """What a user asks for; None takes the checkpoint's own."""

    checkpoint: Path
    captions: Path
    out: Path
    column: str | None = None
    ordinary: Path | None = None
    """Table of ordinary captions; None takes the shipped ones."""
    never_seen: Path | None = None
    """Table of prompts and images that are in no training set, which the recipe judges a search by."""
    calibrate: int = SHIPPED
    """How many of the shipped ones."""
    scores: tuple[Score, ...] = ()
    steps: int | None = None
    guidance: float | None = None
    size: int | None = None
    batch: int = 16
    seeds: int = 4
    calls: int = 1
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    """Of `ScanSettings`, those that are not as they are there."""
    model: dict[str, Any] = field(default_factory=dict)
    """Device and dtype."""
    fresh: bool = False

    def sampling(self, checkpoint: Checkpoint) -> Sampling:
        """How images are made: the checkpoint's own way but for what is asked for."""
        return asked_sampling(checkpoint, steps=self.steps, guidance=self.guidance, size=self.size, batch=self.batch)

    def scan_settings(self, checkpoint: Checkpoint, scheduler: Any, sampling: Sampling) -> ScanSettings:
        """The scan on a checkpoint.

        Raises:
            ExciseError: a score that it does not have; more calls than a generation makes; no guidance; a rule that no
                recipe takes.
        """
        if (available := calls_of(scheduler, sampling)) < self.calls:
            raise ExciseError(f"--calls {self.calls}: a generation of {sampling.steps} steps makes {available}")
        name = checkpoint.pipeline_class
        scores = chosen(self.scores, scores_of(name, checkpoint.configuration(), scheduler), name)
        if scores != ("one_step",) and sampling.guidance <= 1.0:
            raise ExciseError(f"--guidance {sampling.guidance}: the model is called with the text alone; give above 1")
        found = ScanSettings(Scoring(sampling, scores, self.seeds, self.calls, self.seed), **self.settings)
        validated(Validate, {"threshold": found.threshold, "ssim": found.ssim, "tiles": found.tiles})
        return found

    def ordinary_captions(self) -> tuple[Caption, ...]:
        """The captions that scores are held against; memory holds them.

        Raises:
            ExciseError: too few to decide anything.
        """
        if self.ordinary is None:
            texts: Sequence[str] = ordinary_captions(self.calibrate)
        else:
            stream, _ = open_captions("--ordinary", self.ordinary, self.column)
            texts = drawn_apart([caption.text for caption in stream], set())
        rate = float(self.settings.get("rate", ScanSettings.rate))
        if len(texts) < (least := least_null(rate)):
            raise ExciseError(
                f"{self.ordinary or '--calibrate'}: {len(texts)} ordinary captions; at a false discovery rate of "
                f"{rate:g} no p-value of fewer than {least} can decide: give more"
            )
        return tuple(Caption(row, text) for row, text in enumerate(texts, 1))
