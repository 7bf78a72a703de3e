"""What a search found in a model: prompts whose pictures are one picture at most seeds, and which these are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from excise.detect.drawing import Pictures, self_targets
from excise.detect.results import MOST_ALIKE, ordinary_alike
from excise.detect.walks import Walk, Walked
from excise.files.models import Part
from excise.measures.replication import Rule, Target, load_target
from excise.prompts.near_duplicates import cluster_near_duplicates
from excise.prompts.prompt import Prompt

ALIKE = 0.6
"""Jaccard index of the words of two prompts of one picture from which they are one find."""
CONTROLS = 32
"""Random texts, those that walks began at, that are drawn beside what was found."""


@dataclass(frozen=True)
class Known:
    """Training images that are known, each with what tells which others are the same."""

    targets: Mapping[str, tuple[Target, ...]]
    """By name: the group of a template, else the image's file name."""

    @classmethod
    def of(cls, prompts: Sequence[Prompt], side: int) -> Known:
        """Those of a table's prompts that have an image.

        Raises:
            ExciseError: an image that cannot be read.
        """
        found: dict[str, tuple[Target, ...]] = {}
        for prompt in prompts:
            if prompt.image is not None:
                name = prompt.group or prompt.image.stem
                found[name] = (*found.get(name, ()), load_target(prompt, side, side))
        return cls(found)

    def shown(self, images: Tensor, rule: Rule, share: int) -> str:
        """Which of them most of some pictures ``(seeds, 3, height, width)`` are: its name, or nothing."""
        counts = {
            name: max(int(rule.replicated(images, target).sum()) for target in targets)
            for name, targets in self.targets.items()
        }
        best = max(counts, key=counts.__getitem__, default="")
        return best if best and counts[best] >= share else ""


class Trigger(Part):
    """A prompt that was found, whose pictures are one picture at most seeds."""

    prompt: str
    score: float
    seeds: int
    """Of its pictures, how many are that one."""
    picture: str
    """Name of that picture's file; triggers of one picture share it."""
    known: str
    """The training image that most of its pictures replicate, where it is known; else nothing."""


class Found(Part):
    """What a search found in one model."""

    evaluations: int
    seconds: float
    walks: int
    prompts: int
    """Found, of which each gives one picture at most seeds; near-duplicates of one picture count once."""
    pictures: int
    """That these give, different ones."""
    known: tuple[str, ...]
    """Training images that were found, of those that are known: most pictures of some walk's text replicate one."""
    control: int
    """Random texts drawn, those that walks began at."""
    control_one_picture: int
    """Of these, how many give one picture at most seeds."""
    too_alike: bool
    """Whether so many of these do that one picture at most seeds says nothing."""
    triggers: tuple[Trigger, ...]
    """Of the highest scores first, one of near-duplicates."""


def candidates(walked: Walked) -> list[Walk]:
    """The best text of each walk, each once, of the highest scores first."""
    found = {walk.best: walk for walk in sorted(walked.all, key=lambda walk: walk.score)}
    return sorted(found.values(), key=lambda walk: (-walk.score, walk.best))


def control_texts(walked: Walked) -> list[str]:
    """What the first walks began at."""
    return list(dict.fromkeys(walk.start for walk in walked.all))[:CONTROLS]


def found_in(walked: Walked, pictures: Pictures, known: Known, folder: Path) -> Found:
    """What a search found, of pictures that are drawn.

    Args:
        walked: what it came to.
        pictures: of the `candidates` and the `control_texts`.
        known: training images, where they are known.
        folder: where the pictures that were found go.
    """
    settings, walks, plain = pictures.settings, candidates(walked), control_texts(walked)
    named = self_targets(pictures, [walk.best for walk in walks], folder)
    shown = {walk.best: known.shown(pictures.of(walk.best), settings.rule, settings.share) for walk in walks}
    triggers = [
        Trigger(
            prompt=walk.best,
            score=walk.score,
            seeds=pictures.sameness(walk.best).size,
            picture=named[walk.best],
            known=shown[walk.best],
        )
        for walk in walks
        if walk.best in named
    ]
    kept = without_near_duplicates(triggers)
    flat = ordinary_alike(pictures, plain)
    return Found(
        evaluations=walked.evaluations,
        seconds=round(walked.seconds, 1),
        walks=len(walked.all),
        prompts=len(kept),
        pictures=len({trigger.picture for trigger in kept}),
        known=tuple(sorted(set(filter(None, shown.values())))),
        control=len(plain),
        control_one_picture=flat,
        too_alike=flat > MOST_ALIKE * len(plain),
        triggers=tuple(kept),
    )


def without_near_duplicates(triggers: Sequence[Trigger]) -> list[Trigger]:
    """The first of those triggers of one picture that share most of their words; in order."""
    kept, seen = [], set[tuple[str, int]]()
    clusters = cluster_near_duplicates([trigger.prompt for trigger in triggers], ALIKE)
    for trigger, cluster in zip(triggers, clusters, strict=True):
        if (key := (trigger.picture, cluster)) not in seen:
            seen.add(key)
            kept.append(trigger)
    return kept


def still_drawn(triggers: Sequence[Trigger], before: Pictures, after: Pictures) -> set[str]:
    """Of the pictures that were found in one model, those that another still draws when it is asked the same prompts.

    Args:
        triggers: of the one.
        before: its pictures for them.
        after: the other's, at the same seeds.

    Returns:
        Names of the pictures.
    """
    found = set[str]()
    for trigger in triggers:
        centre = before.of(trigger.prompt)[before.sameness(trigger.prompt).centre]
        same = before.settings.rule.replicated(after.of(trigger.prompt), Target(centre, None))
        if int(same.sum()) >= before.settings.share:
            found.add(trigger.picture)
    return found
