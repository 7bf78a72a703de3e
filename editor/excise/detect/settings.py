"""What a scan is asked to do, beside how captions are scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from excise.detect.scores import Scoring
from excise.measures.membership import MemberScore
from excise.measures.replication import Rule
from excise.recipe.fields import Positive, Section

LEAST_CHUNK, USUAL_CHUNK, MOST_CHUNK = 16, 64, 4_096
FEW_CHUNKS, CHUNKS = 16, 1_024


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


Scales = Annotated[tuple[Annotated[float, Field(ge=0.0)], ...], Field(min_length=1)]


class Inversion(Section):
    """A search for an input that makes the model draw an image, by the published schedule (Ma et al., 2405.05846)."""

    steps: Positive = 2000
    """Steps of Adam at most."""
    every: Positive = 50
    """Steps between two tests of what was found, which are also when the weight of the divergence may be halved."""
    window: Positive = 100
    """Steps whose losses tell whether the search still gains."""
    samples: Positive = 16
    """Noised latents of an image in each step."""
    tokens: Positive | None = None
    """Tokens of the prompt; None takes as many as the encoders read, at most 75."""
    draws: Positive = 8
    """Pictures from one prompt and as many draws of noise, all of which must replicate the image."""
    guidance: Scales = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    """Scales that are tried, in this order; one at which all replicate is enough."""
    drawing: Positive = 50
    """Denoising steps of each picture."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.1
    """Adam's, of the prompt."""
    noise_rate: Annotated[float, Field(gt=0.0)] = 0.1
    """Adam's, of mean and variance of the noise. Where gradients are noise they wander as far as it lets them, and so
    much divergence tells nothing."""
    temperature: Annotated[float, Field(gt=0.0)] = 2.0
    """Of the mixtures of tokens."""
    weight: Annotated[float, Field(gt=0.0)] = 1.0
    """Of the divergence beside the loss, at the start."""
    rise: Annotated[float, Field(ge=0.0)] = 1e-3
    """What the weight gains in a step."""
    least_gain: Annotated[float, Field(ge=0.0)] = 1e-3
    """Where the loss has fallen by less than this since the last test, the weight is halved."""
    together: Positive = 8
    """Images that are searched for in one batch: what a killed search is resumed at, and a part of rounding."""
    seed: int = 0


SCHEDULES = {
    "published": Inversion(),
    "fast": Inversion(
        steps=200,
        every=20,
        window=20,
        samples=4,
        tokens=16,
        guidance=(1.0, 3.0, 7.0),
        drawing=20,
        learning_rate=0.4,
        noise_rate=0.02,
        temperature=1.0,
    ),
}
"""By name. The fast one was tried on a few images of the testbed alone (docs/notebook.md)."""


@dataclass(frozen=True)
class AuditSettings:
    """An audit."""

    by: MemberScore | Literal["inversion"] = "familiarity"
    """What an image's likeness to trained ones is told by (`excise.measures.membership.member_score`). Inversion needs
    no caption, and no reference either: it tells whether any input makes the model draw the image."""
    samples: int = 16
    """Noised latents of each image."""
    fitted: int | None = None
    """Of familiarity: steps in which what the model is told is fitted to each image before it is asked
    (`excise.attacks.fitting`), from the caption where there is one. None: 20 where there are none, else none."""
    rate: float = 0.05
    """False discovery rate: of the images that are called members, this share may be wrong."""
    size: int | None = None
    """Pixels a side; None leaves the checkpoint's own."""
    batch: int = 16
    """Latents taken together at most."""
    model: dict[str, Any] = field(default_factory=dict)
    """Device and dtype."""
    inversion: Inversion = SCHEDULES["published"]
    """How an input is searched for, where that is asked for."""
    threshold: float = 0.15
    """Tiled l2 distance at or under which what was drawn replicates an image."""
    ssim: float | None = None
    """If given, it must also have at least this structural similarity."""
    tiles: int = 4
    """Tiles along a side."""

    @property
    def rule(self) -> Rule:
        """When a picture replicates an image."""
        return Rule(self.threshold, self.ssim, self.tiles)


def chunk_size(captions: int) -> int:
    """Captions of one partial result: it depends on the table alone, so that any number of processes has the same.

    A small table is dealt to some processes, a usual one fills their batches, and a large one is in not too many files.
    """
    usual = min(USUAL_CHUNK, captions // FEW_CHUNKS)
    return min(MOST_CHUNK, max(LEAST_CHUNK, usual, -(-captions // CHUNKS)))
