"""The rounds of a trial: which attack, made how, asks which model for which images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from excise.attacks import Budget
from excise.prompts.prompt import Prompt
from excise.prompts.questions import CONCEPTS, NEVER_SEEN, UNMEASURED, UNSOUGHT, Question
from excise.recipe import Sampling, Search
from excise.recipe.suite import Asking
from excise.trial.subjects import BASE, EDITED, Subject
from excise.verdict.estimates import clusters_of

REPLAY = "replay"
"""The attack by which prompts without a training image are asked; there is nothing to search for."""
SEEKS_CONCEPTS = "embedding"
"""The attack by which a concept is searched for: others begin at the captions, or need an image that is memorized."""
UNMEASURED_SEEDS = 2
"""Seeds of a prompt without a training image: as many as the report shows, and as drift needs; more prompts, not more
seeds, narrow its intervals."""


def seeds_of(recipe: Asking, asked: Question) -> range:
    """Seeds of the images of one question under replay."""
    count = UNMEASURED_SEEDS if asked in UNMEASURED else recipe.validate_.seeds
    return range(recipe.validate_.seed, recipe.validate_.seed + count)


@dataclass(frozen=True)
class Round:
    """One attack, made one way."""

    attack: str
    variant: str = ""
    settings: Search | None = None

    def budget(self, sampling: Sampling) -> Budget:
        """What it may spend on an image, which is drawn as ``sampling`` says."""
        return Budget.of(self.settings, self.variant, sampling)

    @property
    def name(self) -> str:
        """Its name in files and tables: ``replay``, ``embedding/caption``."""
        return f"{self.attack}/{self.variant}" if self.variant else self.attack

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of what is drawn at each point of its curve: ``embedding/caption/50``; its own where it has none."""
        points = self.settings.points if self.settings else ()
        return tuple(f"{self.name}/{point}" for point in points) or (self.name,)

    def questions(self, subject: Subject, asked: Collection[Question]) -> list[Question]:
        """Those of the questions that the model is asked in this round.

        Never-seen images are searched for in the edited model alone, beside whose own they stand.
        """
        found = subject.asked(asked)
        if self == AIMED:
            return [question for question in found if question in CONCEPTS and subject.name == BASE]
        if self.attack != REPLAY:
            left_out = UNSOUGHT if self.attack == SEEKS_CONCEPTS else UNMEASURED
            found = [question for question in found if question not in left_out]
        if self.settings is None:
            return found
        kinds = self.settings.kinds
        if subject.name != EDITED:
            found = [question for question in found if question != NEVER_SEEN]
        return [q for q in found if subject.name in self.settings.MODELS and (q.kind is None or q.kind in kinds)]

    def places(self, prompts: Sequence[Prompt]) -> list[int]:
        """Places of those of a question's prompts that are asked."""
        return spread(prompts, self.settings.images if self.settings else None)

    def seeds(self, recipe: Asking, asked: Question) -> range:
        """Seeds of the images of one question: replay's first ones, so that attacks are compared image by image."""
        found = seeds_of(recipe, asked)
        if self == AIMED:
            return range(found.start - 1, found.start)
        return range(found.start, found.start + self.settings.seeds) if self.settings else found


REPLAYED = Round(REPLAY)
AIMED = Round(REPLAY, "aims")
"""What the base draws, at a seed of its own, for prompts that name a concept: searches for the concept are for these
pictures, where images to search for are not memorized."""


def rounds_of(recipe: Asking) -> tuple[Round, ...]:
    """Every attack of a recipe, in each of its ways; replay first."""
    methods = sorted(recipe.attack.methods, key=lambda name: name != REPLAY)
    rounds: list[Round] = []
    for name in methods:
        settings = recipe.attack.settings(name)
        rounds += [Round(name, variant, settings) for variant in (settings.variants if settings else ("",))]
    return tuple(rounds)


def aiming(recipe: Asking, asked: Collection[Question]) -> tuple[Round, ...]:
    """The same, with pictures of a concept before all, where there is one and it is searched for."""
    rounds = rounds_of(recipe)
    searched = any(question in CONCEPTS for question in asked) and any(
        found.attack == SEEKS_CONCEPTS for found in rounds
    )
    return (AIMED, *rounds) if searched else rounds


def spread(prompts: Sequence[Prompt], count: int | None) -> list[int]:
    """Places of the first prompts of a question, in order: one of each template or image before a second of any."""
    before: Counter[str] = Counter()
    ranks = []
    for place, cluster in enumerate(clusters_of(prompts)):
        ranks.append((before[cluster], place))
        before[cluster] += 1
    return sorted(place for _, place in sorted(ranks)[:count])


def others_of(question: Question, asked: Mapping[Question, tuple[Prompt, ...]]) -> dict[Prompt, Prompt]:
    """For each prompt of a question the next one of another template or image, in a circle, where there is one.

    Where all of a question are of one template, it is the first image of another question.
    """
    prompts, found = asked[question], {}
    rest = [prompt for other, more in asked.items() if other not in (question, *UNMEASURED) for prompt in more]
    clusters, others = clusters_of(prompts), clusters_of(rest)
    for place, prompt in enumerate(prompts):
        around = [*range(place + 1, len(prompts)), *range(place)]
        near = [prompts[i] for i in around if clusters[i] != clusters[place]]
        near += [other for other, cluster in zip(rest, others, strict=True) if cluster != clusters[place]]
        if near:
            found[prompt] = near[0]
    return found
