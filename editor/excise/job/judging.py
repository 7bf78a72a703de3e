"""What models drew in a sweep becomes numbers: made as those of a verdict are, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from excise.measures.agreement import judge_images
from excise.measures.replication import Rule, Target
from excise.prompts.prompt import Prompt
from excise.prompts.questions import Kind, Place, Question
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.trial.subjects import BASE, COLOURS, EDITED
from excise.verdict import estimates
from excise.verdict.measured import Agrees
from excise.verdict.models import ModelResult, Replication, Usefulness

Images = dict[int, Tensor]
"""By place among the prompts: uint8 ``(seeds, 3, height, width)``."""


@dataclass
class Drawn:
    """What one model drew."""

    located: Images = field(default_factory=dict)
    """For memorized prompts, by edits that were fitted on them."""
    left_out: Images = field(default_factory=dict)
    """For the same, by edits that were not."""
    sought: Images = field(default_factory=dict)
    """With what a search found, for some of the first."""
    judged: Images = field(default_factory=dict)
    neighbours: Images = field(default_factory=dict)


class Judging:
    """The measuring of what was drawn beside what the base drew."""

    def __init__(
        self, recipe: Recipe, sets: PromptSets, prompts: Sequence[Prompt], targets: Sequence[Target], base: Drawn
    ) -> None:
        """Take note of what the base drew.

        Args:
            recipe: names the rule and the judge.
            sets: whose ``judged`` and ``neighbours_judged`` are to be kept.
            prompts: memorized ones.
            targets: their training images.
            base: what the unedited model drew.
        """
        self.recipe, self.sets, self.prompts, self.targets, self.base = recipe, sets, prompts, targets, base
        self.rule = Rule.of(recipe.validate_)
        self._agreed = {place: self._agrees(asked, images) for place, asked, images in self._usefulness(base)}

    def result(self, name: str, drawn: Drawn, changed: int | None) -> ModelResult:
        """One model's numbers; ``changed`` weights, None for the base."""
        sets, sought = {}, {}
        for kind in Kind:
            if places := self._of_kind(kind, range(len(self.prompts))):
                sets[Question(Place.LOCATED, kind).key] = self._replication(drawn.located, places)
                sets[Question(Place.HELD_OUT, kind).key] = self._replication(drawn.left_out, places)
            if places := self._of_kind(kind, sorted(drawn.sought)):
                sought[Question(Place.LOCATED, kind).key] = self._replication(drawn.sought, places)
        kept = {}
        for place, prompts, images in self._usefulness(drawn):
            clusters = estimates.clusters_of(prompts)
            before, agreement, drift = self._agreed[place], None, None
            agrees = before if drawn is self.base else self._agrees(prompts, images)
            if agrees is not None:
                compared = None if drawn is self.base else before
                agreement = estimates.caption_agreement(agrees, compared, clusters)
            if drawn is not self.base:
                of_base = self.base.judged if place == Place.JUDGED else self.base.neighbours
                drift = estimates.drift(_pictures(images), _pictures(of_base), clusters)
            kept[place] = Usefulness(agreement=agreement, drift=drift)
        steps = self.recipe.attack.embedding.steps
        return ModelResult(
            label=name,
            colour=COLOURS[BASE if drawn is self.base else EDITED],
            checkpoint=str(self.recipe.model.path),
            weights_changed=changed,
            sets=sets,
            other_attacks={f"embedding/caption/{steps}": sought} if sought else {},
            agreement=kept[Place.JUDGED].agreement,
            drift=kept[Place.JUDGED].drift,
            neighbours=kept.get(Place.NEIGHBOURS),
            seed_diversity=None,
        )

    def _of_kind(self, kind: Kind, places: Sequence[int]) -> list[int]:
        return [place for place in places if self.prompts[place].kind == kind]

    def _replication(self, images: Images, places: Sequence[int]) -> Replication:
        clusters = estimates.clusters_of([self.prompts[place] for place in places])
        targets = [self.targets[place] for place in places]
        made = (images[place].float() / 255.0 for place in places)
        measured = estimates.measure_images(made, targets, clusters, self.rule, None, torch.device("cpu"))
        return estimates.replication(measured, self.rule, clusters, None)

    def _usefulness(self, drawn: Drawn) -> list[tuple[Place, tuple[Prompt, ...], Images]]:
        found = [(Place.JUDGED, self.sets.judged, drawn.judged)]
        found += [(Place.NEIGHBOURS, self.sets.neighbours_judged, drawn.neighbours)]
        return [(place, prompts, images) for place, prompts, images in found if prompts]

    def _agrees(self, prompts: Sequence[Prompt], images: Images) -> Agrees | None:
        if self.recipe.validate_.judge is None:
            return None
        pictures = torch.stack(_pictures(images))
        told = judge_images(self.recipe.validate_.judge, pictures, [prompt.text for prompt in prompts])
        return tuple(None if row is None else tuple(row) for row in told)


def _pictures(images: Images) -> list[Tensor]:
    """In the order of the prompts, float in [0, 1]."""
    return [images[place].float() / 255.0 for place in sorted(images)]
