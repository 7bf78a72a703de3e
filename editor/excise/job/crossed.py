"""Edits cross-validated in memory: of one base that is loaded, one after another.

In each fold an edit is fitted on all located groups of memorized prompts but one. That one is asked, and so is another
that the edit was fitted on, a share of the ordinary prompts and of the neighbours, and, if that is wanted, some images
are searched for. Over all folds every prompt is asked once in each of its parts, so that the numbers are made as those
of a verdict are, with their intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial

from diffusers import DiffusionPipeline
from torch import Tensor

from excise.attacks import Budget, attack
from excise.attacks import Target as Sought
from excise.attacks.replay import replay
from excise.diffusion.load import denoiser, pick_device, pick_dtype
from excise.diffusion.patching import Change, patched
from excise.edits import changes_of
from excise.edits.chain import fitted
from excise.errors import ExciseError
from excise.job.folds import FoldMaterial
from excise.job.grids import Candidate
from excise.job.judging import Drawn, Images, Judging
from excise.measures.replication import load_target
from excise.prompts.concept import CONCEPT
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.stages.context import Context
from excise.trial.subjects import BASE
from excise.verdict.models import ModelResult

FIRST_SEED = 9_000
"""First seed of the images that are made, unless validation uses it."""
KEPT_SEEDS = 2
"""Images of each ordinary prompt and neighbour."""


def check_pictured(sets: PromptSets) -> None:
    """Refuse groups that have nothing to be compared with: each is left out once, and asked for its images.

    Raises:
        ExciseError: no prompt of a group names a training image.
    """
    if any(prompt.kind == CONCEPT for group in sets.located for prompt in group):
        raise ExciseError(
            "prompts.concept: a sweep compares settings by the training images that they bring back, and a concept has "
            "none; set edit.method, and compare the verdicts of runs"
        )
    bare = sum(not any(prompt.image for prompt in group) for group in sets.located)
    if bare:
        raise ExciseError(
            f"prompts.memorized: {bare} of {len(sets.located)} groups have no prompt with a training image (column "
            "image), and a sweep compares settings by what they bring back; name images, or lower collect.groups"
        )


def own_seeds(recipe: Recipe, count: int) -> range:
    """Seeds of a sweep's images: none that validation uses."""
    judging = range(recipe.validate_.seed, recipe.validate_.seed + recipe.validate_.seeds)
    first = FIRST_SEED if judging.stop <= FIRST_SEED or judging.start >= FIRST_SEED + count else judging.stop
    return range(first, first + count)


class Crossed:
    """The base in memory, what it draws, and the judging of edits of it."""

    def __init__(self, context: Context, collected: Mapping[str, Run], seeds: int, search: int = 0) -> None:
        """Load the base and draw its images.

        Args:
            context: of the job, on prompts that a sweep may read.
            collected: runs with statistics, by family of sites.
            seeds: images of each memorized prompt.
            search: images that are searched for, in all folds together.

        Raises:
            ExciseError: as `check_pictured`.
        """
        self.recipe, self.sets, self.collected = context.recipe, context.sets, collected
        check_pictured(self.sets)
        device = pick_device(self.recipe.model.device)
        dtype = pick_dtype(self.recipe.model.dtype, device)
        self.checkpoint = context.base
        self.pipeline: DiffusionPipeline = context.base.load(dtype, device, self.recipe.model.offload)
        self.network = denoiser(self.pipeline)
        self.seeds = own_seeds(self.recipe, max(seeds, KEPT_SEEDS))[:seeds]
        pictured = [(prompt, g) for g, group in enumerate(self.sets.located) for prompt in group if prompt.image]
        self.prompts = [prompt for prompt, _ in pictured]
        self.group_of = [group for _, group in pictured]
        self.sought = self._spread(search)
        base = Drawn()
        self._replay(base.left_out, range(len(self.prompts)))
        base.located = base.left_out
        height, width = base.left_out[0].shape[-2:]
        self.targets = [load_target(prompt, height, width) for prompt in self.prompts]
        self._seek(base.sought, self.sought)
        self._keep(base, 0, 1)
        self.judging = Judging(self.recipe, self.sets, self.prompts, self.targets, base)

    def base(self) -> ModelResult:
        """The unedited model, judged in the same way."""
        return self.judging.result(BASE, self.judging.base, None)

    def edited(self, candidate: Candidate) -> ModelResult:
        """An edit, cross-validated. The model is as it was afterwards.

        Raises:
            ExciseError: the edit cannot be made, or breaks the model.
        """
        folds, drawn, changed = len(self.sets.located), Drawn(), 0
        for left_out in range(folds):
            seen = tuple(group for group in range(folds) if group != left_out)
            fold = partial(FoldMaterial.of_fold, self.collected[candidate.sites], candidate, self.checkpoint, seen)
            changes, counts = changes_of(fitted(candidate.edit.methods, fold)), [0]
            with patched(self.network, {name: _counted(change, counts) for name, change in changes.items()}):
                seen_one = (left_out + 1) % folds
                self._replay(drawn.left_out, self._of_group(left_out))
                self._replay(drawn.located, self._of_group(seen_one))
                self._seek(drawn.sought, [place for place in self.sought if self.group_of[place] == seen_one])
                self._keep(drawn, left_out, folds)
            changed += counts[0]
        return self.judging.result(candidate.name, drawn, round(changed / folds))

    def _of_group(self, group: int) -> list[int]:
        return [place for place, found in enumerate(self.group_of) if found == group]

    def _spread(self, count: int) -> list[int]:
        """Places of the images that are searched for: one of each group before a second of any."""
        ranks: list[tuple[int, int]] = []
        for group in range(len(self.sets.located)):
            of_kind = [p for p in self._of_group(group) if self.prompts[p].kind in self.recipe.attack.embedding.kinds]
            ranks += enumerate(of_kind)
        return sorted(place for _, place in sorted(ranks)[:count])

    def _replay(self, images: Images, places: Sequence[int]) -> None:
        if places:
            texts = [self.prompts[place].text for place in places]
            images.update(zip(places, replay(self.pipeline, texts, self.seeds, self.recipe.sampling), strict=True))

    def _keep(self, drawn: Drawn, start: int, step: int) -> None:
        """Draw a share of what is to be kept: every ``step``-th prompt."""
        seeds = own_seeds(self.recipe, max(len(self.seeds), KEPT_SEEDS))[:KEPT_SEEDS]
        for prompts, images in ((self.sets.judged, drawn.judged), (self.sets.neighbours_judged, drawn.neighbours)):
            if texts := [prompt.text for prompt in prompts[start::step]]:
                made = replay(self.pipeline, texts, seeds, self.recipe.sampling)
                images.update(zip(range(start, len(prompts), step), made, strict=True))

    def _seek(self, images: Images, places: Sequence[int]) -> None:
        """Search for images by the embedding attack from their captions, with the randomness of an edit's searches."""
        settings, search = self.recipe.attack.embedding, attack("embedding")
        settings = settings.model_copy(update={"starts": ("caption",), "curve": (settings.steps,)})
        budget = Budget.of(settings, "caption", self.recipe.sampling, purpose="editing")
        for start in range(0, len(places), settings.chunk):
            part = places[start : start + settings.chunk]
            sought = [Sought(self.prompts[place], self.targets[place].image) for place in part]
            with closing(search.find(self.pipeline, sought, budget)) as found:
                pairs = [(trigger, seed) for trigger in next(found).triggers for seed in self.seeds]
                made = search.draw(self.pipeline, pairs, self.recipe.sampling)
            images.update(zip(part, made.unflatten(0, (len(part), len(self.seeds))), strict=True))


def _counted(change: Change, counts: list[int]) -> Change:
    """The same change, which adds to ``counts[0]`` how many entries it changes."""

    def changed(weight: Tensor) -> Tensor:
        after = change(weight)
        counts[0] += int((after != weight).sum())
        return after

    return changed
