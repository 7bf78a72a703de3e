"""What a user asks a search for, and what that comes to on a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excise.checkpoint import Checkpoint
from excise.detect.scores import Scoring
from excise.detect.settings import ScanSettings
from excise.detect.walks import WalkSettings
from excise.errors import ExciseError
from excise.job.draft import asked_sampling, validated
from excise.job.texts import check_texts
from excise.prompts.prompt import Prompt, read_prompts
from excise.recipe import HUB, Model, Sampling, Validate, hub_address

BASE, EDITED, TWIN = "base", "edited", "twin"
PICTURED = "pictures"
"""Folder of the pictures that were found."""
MINUTES = 15.0
"""Of the base's search where no limit is asked for."""


@dataclass(frozen=True)
class SearchRequest:
    """What a user asks for; None takes the checkpoint's own."""

    checkpoint: Path
    out: Path
    edited: Path | None = None
    """What it was edited into."""
    twin: Path | None = None
    """A model of the same training that never saw the memorized images."""
    minutes: float | None = None
    """Of the base's search; other models are asked as many texts."""
    evaluations: int | None = None
    """Texts scored in each model; what comes first ends the search."""
    known: Path | None = None
    """Table of prompts with the training images that are known."""
    ordinary: Path | None = None
    neighbours: Path | None = None
    """Tables of prompts for usefulness."""
    judge: Path | None = None
    useful: int = 32
    """Prompts of each table that are drawn, the first ones."""
    steps: int | None = None
    guidance: float | None = None
    size: int | None = None
    batch: int = 16
    walks: dict[str, Any] = field(default_factory=dict)
    """Of `WalkSettings`, those that are not as they are there."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of `ScanSettings` likewise: images, threshold, ssim."""
    model: dict[str, Any] = field(default_factory=dict)
    """Device and dtype."""
    fresh: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Models that are searched, the base first."""
        given = {BASE: self.checkpoint, EDITED: self.edited, TWIN: self.twin}
        return tuple(name for name, path in given.items() if path is not None)

    @property
    def limits(self) -> tuple[float | None, int | None]:
        """Minutes and texts; what comes first ends the base's search."""
        return MINUTES if self.minutes is None and self.evaluations is None else self.minutes, self.evaluations

    def model_section(self) -> Model:
        """The models and how they are loaded, as a recipe says it."""
        return Model(path=self.checkpoint, twin=self.twin, **self.model)

    def opened(self, local: Model) -> dict[str, Checkpoint]:
        """The models by name.

        Args:
            local: `model_section` with what lies elsewhere brought here.

        Raises:
            ExciseError: a folder that cannot be loaded, or an address of the edited one.
        """
        if self.edited is not None and (address := hub_address(self.edited)):
            raise ExciseError(f"--edited: {address}: give a folder: fetch it first (hf download {address[len(HUB) :]})")
        found = {BASE: local.path, EDITED: self.edited, TWIN: local.twin}
        return {name: Checkpoint.open(path) for name, path in found.items() if path is not None}

    def sampling(self, checkpoint: Checkpoint) -> Sampling:
        """How images are made: the checkpoint's own way but for what is asked for."""
        return asked_sampling(checkpoint, steps=self.steps, guidance=self.guidance, size=self.size, batch=self.batch)

    def walk_settings(self, sampling: Sampling) -> WalkSettings:
        """How texts are walked among."""
        return WalkSettings(sampling, **self.walks)

    def scan_settings(self, sampling: Sampling) -> ScanSettings:
        """How what is found is drawn and compared.

        Raises:
            ExciseError: a rule that no recipe takes.
        """
        found = ScanSettings(Scoring(sampling), **self.settings)
        validated(Validate, {"threshold": found.threshold, "ssim": found.ssim, "tiles": found.tiles})
        return found

    def known_prompts(self) -> tuple[Prompt, ...]:
        """Prompts of the training images that are known.

        Raises:
            ExciseError: a table that cannot be read, or that names no image.
        """
        if self.known is None:
            return ()
        prompts = read_prompts(self.known)
        if not any(prompt.image for prompt in prompts):
            raise ExciseError(f"--known: {self.known}: names no image; give a column image, of files beside the table")
        return prompts

    def tables(self) -> dict[str, tuple[str, ...]]:
        """Prompts for usefulness by the table's name, each once.

        Raises:
            ExciseError: a table that cannot be read; a judge without a table.
        """
        given = {"ordinary": self.ordinary, "neighbours": self.neighbours}
        found = {
            name: tuple(dict.fromkeys(prompt.text for prompt in read_prompts(path)))[: self.useful]
            for name, path in given.items()
            if path is not None
        }
        if self.judge is not None and not found:
            raise ExciseError("--judge: has nothing to judge; give --ordinary or --neighbours")
        return found


def check_searchable(checkpoint: Checkpoint) -> None:
    """Refuse a model in which no prompt can be searched for.

    Raises:
        ExciseError: it is never called without the text, or its prompts cannot be typed token by token.
    """
    check_texts(
        checkpoint,
        "no prompt has a magnitude to search by",
        "so that none is searched for",
        "scan a list of captions (excise scan), which has the one-step score too",
    )
