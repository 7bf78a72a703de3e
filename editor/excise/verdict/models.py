"""What a verdict says, as models: in verdict.json and measures.json; report, terminal, card and verify read it.

docs/verdict.md explains every field, docs/verdict.schema.json is made from these classes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from excise.files.models import Count, Part
from excise.verdict.searched import Attacked, Certificate, Comparison, Estimate, Fate, Interval, Membership, Point, Rate

__all__ = ["Comparison", "Estimate", "Interval", "Membership", "Rate"]

Rates = tuple[Rate, Rate] | None
Status = Literal["passed", "failed", "not measured", "not required", "not applicable"]
Relation = Literal["at most", "at least"]
FEW = 3
"""Independent cases below which a check that is passed says little."""


class Replication(Part):
    """How often one model replicated the training images of one question."""

    prompts: Count
    clusters: Count
    seeds: Count
    memorization_rate: Rate
    interval: Rates
    images_ever_replicated: Rate
    images_ever_replicated_interval: Rates
    median_distance: float
    smallest_distance: float
    mean_ssim: float
    median_sscd: float | None
    largest_sscd: float | None
    identification_rate: Rate | None
    """Share of images whose own training image is the nearest of the set; None where the set has no other."""
    identification_interval: Rates
    identification_chance: Rate | None
    """The rate of a model that knows nothing of the set."""
    seed_diversity: Estimate | None

    @property
    def rate(self) -> Estimate:
        """The memorization rate with its interval."""
        return Estimate(value=self.memorization_rate, interval=self.interval)

    @property
    def identification(self) -> Estimate | None:
        """The identification rate with its interval."""
        if self.identification_rate is None:
            return None
        return Estimate(value=self.identification_rate, interval=self.identification_interval)


class Agreement(Part):
    """How often a judge reads the caption off one model's ordinary images."""

    rate: Rate
    interval: Rates
    prompts: Count
    seeds: Count
    prompts_without_label: Count
    drop: Estimate | None
    """The base's rate less this one; None for the base."""


class Usefulness(Part):
    """Whether one model still draws what it is asked for."""

    agreement: Agreement | None
    drift: Estimate | None
    """Distance from the base's images, in distances between the base's seeds; None for the base."""


class ModelResult(Part):
    """One model under test."""

    label: str
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]
    checkpoint: str
    weights_changed: Count | None
    """Entries of the base's weights that its edit concerns; None for a checkpoint that is not an edited base."""
    sets: dict[str, Replication]
    """Under replay, by question."""
    other_attacks: dict[str, dict[str, Replication]] = Field(default_factory=dict)
    """Under the recipe's other attacks: by attack, then by question."""
    agreement: Agreement | None
    drift: Estimate | None
    neighbours: Usefulness | None
    """On neighbours of the memorized prompts, which an edit that forgets a whole domain spoils; None without any."""
    seed_diversity: Estimate | None
    concept: dict[str, Agreement] = Field(default_factory=dict)
    """How often the judge reads the concept that is to be forgotten, by question; empty where there is none, or no
    judge that reads it."""
    concept_searched: dict[str, dict[str, Agreement]] = Field(default_factory=dict)
    """How often it reads it off what searches for it drew: by attack, then by question."""
    membership: dict[str, Membership] = Field(default_factory=dict)
    """What an audit tells, by question; empty where the recipe has none, and of random edits."""


class FalsePositives(Part):
    """How often images made for never-seen prompts are said to replicate never-seen images."""

    prompts: Count
    seeds: Count
    pairs: Count
    false_positive_rate: Rate
    interval: Rates
    own_rate: Rate
    own_interval: Rates
    smallest_distance: float


class Threshold(Part):
    """The replication rule, and how often it errs."""

    value: float
    ssim: float | None
    tiles: Count
    never_seen: FalsePositives | None


class Check(Part):
    """One thing that the recipe requires."""

    name: str
    question: str
    model: str
    set: str | None
    value: float | None
    interval: Interval
    relation: Relation
    limit: float | None
    status: Status
    passed: bool | None
    clear: bool | None
    controls: dict[str, Estimate]
    note: str
    cases: Count | None = None
    """Independent cases that the value rests on; None where nothing was measured, or where they are not counted."""

    @property
    def is_rate(self) -> bool:
        """Whether value and limit are shares, to be shown in per cent."""
        return not self.name.endswith("drift")

    @property
    def on_few(self) -> bool:
        """Whether it is passed on so few independent cases that it says little."""
        return self.status == "passed" and self.cases is not None and self.cases < FEW

    @property
    def doubtful(self) -> bool:
        """Whether it is passed, but on few cases or not clearly: no more than that may be read from it."""
        return self.on_few or (self.status == "passed" and self.clear is False)

    @property
    def judged(self) -> tuple[object, ...]:
        """What must come out the same when it is decided again; the rest is wording."""
        return self.name, self.model, self.set, self.value, self.relation, self.limit, self.status, self.cases


class Evidence(Part):
    """How many prompts there were."""

    located: Count
    held_out: Count
    judged: Count
    neighbours: Count
    never_seen: Count
    without_image: Count
    self_targets: Count = 0
    """Memorized prompts that are measured against a picture of the base's own, and no training image."""


class Certificates(Part):
    """certificate.json."""

    false_discovery: Rate
    """The rate at which images are told apart from those of a model that never saw them."""
    images: tuple[Certificate, ...]
    passed: Count
    may_be_wrong: Count
    """How many of those that passed are kept for all that, by estimate."""


class Verdict(Part):
    """verdict.json."""

    format: Literal[4] = 4
    recipe: str
    settings: dict[str, Any]
    accepted: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    threshold: Threshold
    kinds: tuple[str, ...]
    concept: str | None = None
    """Words that name what is to be forgotten, where it is a concept and no image."""
    models: dict[str, ModelResult]
    fate: Fate = "not searched"
    """What became of the images, as far as these attacks tell."""
    attacks: dict[str, Point] = Field(default_factory=dict)
    """Every attack at every point, by its name in ``images``; empty where replay is the only one."""
    attacked: tuple[Attacked, ...] = ()
    """What they brought back, image by image."""
    comparisons: tuple[Comparison, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    evidence: Evidence
    seconds: dict[str, float]
    images: dict[str, str]

    @property
    def base(self) -> ModelResult:
        """The unedited model."""
        return self.models["base"]

    @property
    def edited(self) -> ModelResult:
        """The edited model."""
        return self.models["edited"]

    @property
    def controls(self) -> dict[str, ModelResult]:
        """Every other model, by name."""
        return {name: found for name, found in self.models.items() if name not in ("base", "edited")}

    @property
    def whole(self) -> bool:
        """Whether no memorized prompt was held out: the edit is of every image that was named, and judged on them."""
        return self.evidence.held_out == 0

    @property
    def waived(self) -> list[Check]:
        """Checks that the recipe does not require."""
        return [check for check in self.checks if check.status == "not required"]
