"""Trade-offs between edits: what comes back against what is damaged, and which edits no other beats in both."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from excise.recipe import Verdict as Limits
from excise.verdict.decide import decide
from excise.verdict.models import Check, ModelResult, Threshold


@dataclass(frozen=True)
class Standing:
    """Where an edit stands among others."""

    name: str
    back: float
    """Share of memorized images, located and left out ones alike, that come back: under search where there was one,
    else under replay."""
    damage: float
    """Drift of ordinary images or of neighbours', the larger."""
    on_front: bool
    """Whether no other edit brings back less at no more damage, or damages less and brings no more back."""
    exceeded: tuple[Check, ...]
    """Limits of the recipe that it exceeds."""
    unmeasured: tuple[Check, ...]
    """Those that nothing was measured for."""

    @property
    def within(self) -> bool:
        """Whether it exceeds none."""
        return not self.exceeded

    @property
    def order(self) -> tuple[int, float, float]:
        """The better the smaller: limits exceeded, then what comes back, then damage."""
        return len(self.exceeded), self.back, self.damage


def came_back(result: ModelResult) -> float:
    """Share of memorized images that come back from a model, over all sets alike; of a search, all attacks alike."""
    by_attack = list(result.other_attacks.values()) or [result.sets]
    rates = [(found.memorization_rate, found.prompts) for sets in by_attack for found in sets.values()]
    return sum(rate * prompts for rate, prompts in rates) / sum(prompts for _, prompts in rates)


def damaged(result: ModelResult) -> float:
    """The larger of the drifts of ordinary prompts and neighbours; 0 of a model that is not compared with another."""
    drifts = (result.drift, result.neighbours.drift if result.neighbours else None)
    return max((found.value for found in drifts if found), default=0.0)


def standings(
    base: ModelResult,
    results: Mapping[str, ModelResult],
    aside: Collection[str],
    threshold: Threshold,
    kinds: Collection[str],
    limits: Limits,
) -> list[Standing]:
    """Every edit by how well it stands, the best first; those aside come last and are on no front.

    Limits are those of a verdict, by the same code: of the edit on what was left out and located, and on what is to be
    kept. Those of searches need a model that never saw the images, and are not among them.

    Args:
        base: the unedited model.
        results: of the edits, by name.
        aside: names of those that are controls.
        threshold: the rule of replication.
        kinds: kinds of memorized prompt.
        limits: the recipe's.
    """
    places = {name: (came_back(found), damaged(found)) for name, found in results.items()}
    best = front({name: place for name, place in places.items() if name not in aside})
    found = []
    for name, result in results.items():
        checks, _ = decide({"base": base, "edited": result}, threshold, kinds, limits)
        own = [check for check in checks if check.model == "edited"]
        exceeded, unmeasured = (
            tuple(check for check in own if check.status == status) for status in ("failed", "not measured")
        )
        found.append(Standing(name, *places[name], name in best, exceeded, unmeasured))
    return sorted(found, key=lambda one: (one.name in aside, one.order))


def front(places: Mapping[str, tuple[float, ...]]) -> set[str]:
    """Names of the places that no other is at least as small as in every number, and smaller in one."""
    return {
        name
        for name, place in places.items()
        if not any(
            other != place and all(theirs <= ours for theirs, ours in zip(other, place, strict=True))
            for other in places.values()
        )
    }


def choose(found: Collection[Standing], aside: Collection[str]) -> Standing | None:
    """The edit that exceeds the fewest limits; of those the one of which the least comes back, at the least damage."""
    return min((one for one in found if one.name not in aside), key=lambda one: one.order, default=None)
