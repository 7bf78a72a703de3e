"""What a scan is asked to do, beside how captions are scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from excise.detect.scores import Scoring
from excise.measures.replication import Rule

LEAST_CHUNK, MOST_CHUNK, CHUNKS = 16, 4_096, 1_024


@dataclass(frozen=True)
class ScanSettings:
    """A scan."""

    scoring: Scoring
    rate: float = 0.05
    """False discovery rate: of the captions that are called memorized, this share may be wrong."""
    drawn: int = 32
    """Captions of the highest scores that are drawn."""
    images: int = 8
    """Pictures of each, one a seed."""
    threshold: float = 0.15
    """Tiled l2 distance at or under which two pictures are one (Carlini 2023's for Stable Diffusion)."""
    ssim: float | None = None
    """If given, they must also have at least this structural similarity."""
    tiles: int = 4
    """Tiles along a side."""
    first_image: int = 1_000_000
    """First of the pictures' seeds: far from those of `validate.seed`, so that a self-target is found at other seeds
    than it is judged at."""
    kept: int = 2_000
    """Captions of the highest scores that are kept with their texts; also the most that can be called memorized."""

    @property
    def rule(self) -> Rule:
        """When two pictures are one."""
        return Rule(self.threshold, self.ssim, self.tiles)

    @property
    def share(self) -> int:
        """Pictures of a caption that must be one for it to be taken for what the model knows by heart: most of them."""
        return self.images // 2 + 1


@dataclass(frozen=True)
class AuditSettings:
    """An audit."""

    by: Literal["loss", "magnitude"] = "loss"
    """What an image's likeness to trained ones is told by; the magnitude is that of its caption."""
    samples: int = 16
    """Noised latents of each image."""
    rate: float = 0.05
    """False discovery rate: of the images that are called members, this share may be wrong."""
    size: int | None = None
    """Pixels a side; None leaves the checkpoint's own."""
    batch: int = 16
    """Latents taken together at most."""
    model: dict[str, Any] = field(default_factory=dict)
    """Device and dtype."""


def chunk_size(captions: int) -> int:
    """Captions of one partial result: it depends on the table alone, so that any number of processes has the same."""
    return min(MOST_CHUNK, max(LEAST_CHUNK, -(-captions // CHUNKS)))
