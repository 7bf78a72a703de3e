"""What attacks on one checkpoint found, as a model: attack.json, a row to put beside those of other checkpoints."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from pydantic import Field

from excise.files.models import Count, Hash, Part
from excise.verdict.models import Check, ModelResult, Threshold
from excise.verdict.searched import Attacked, Certificate, Comparison, Estimate, Fate, Point


class Searched(Protocol):
    """What readers are told of searches is made from: a verdict, or a row."""

    @property
    def fate(self) -> Fate:
        """What became of the images."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of memorized prompt."""

    @property
    def models(self) -> dict[str, ModelResult]:
        """The models under test, by name."""

    @property
    def threshold(self) -> Threshold:
        """The rule of replication."""

    @property
    def attacks(self) -> dict[str, Point]:
        """Every attack at every point."""

    @property
    def attacked(self) -> tuple[Attacked, ...]:
        """What they brought back, image by image."""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Against a model that never saw the images."""

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """What can be said of each image."""


class Tested(Part):
    """A checkpoint, so that another can tell whether it is the same."""

    name: str
    """Of its folder."""
    pipeline: str
    sha256: Hash
    """Of its files' names and hashes."""


class Back(Part):
    """How many of a set's images one attack brings back from the checkpoint, at one point."""

    attack: str
    """Key of ``attacks``."""
    set: str
    images: Count
    """Independent ones."""
    rate: Estimate
    """Share of the images drawn that replicate."""


class Row(Part):
    """attack.json."""

    format: Literal[1] = 1
    excise: str
    """Version of the program."""
    checkpoint: Tested
    others: dict[str, Tested]
    """Base and twin, where they were given."""
    tables: dict[str, str]
    """Hash of each table by what it is: ``memorized``, ``never_seen``."""
    settings: dict[str, Any]
    """How it was asked and measured: rows are comparable where these and the tables are the same."""
    fate: Fate
    cannot_say: tuple[str, ...]
    """What is not known for want of a base, a twin or never-seen images, a sentence each."""
    images: Count
    """That were attacked, each once however many prompts ask for it."""
    come_back: Count
    """Of these, by any attack."""
    brought_back: tuple[Back, ...]
    """Of the checkpoint, by every attack at every point; replay first."""
    checks: tuple[Check, ...]
    """Against the limits of the settings."""
    kinds: tuple[str, ...]
    threshold: Threshold
    models: dict[str, ModelResult]
    attacks: dict[str, Point]
    attacked: tuple[Attacked, ...]
    comparisons: tuple[Comparison, ...]
    certificates: tuple[Certificate, ...]
    passed: Count
    """Certificates that pass."""
    may_be_wrong: Count
    """Of these, kept for all that, by estimate."""
    seconds: dict[str, float] = Field(default_factory=dict)
