"""What the attacks of a trial brought back, image by image: what comparisons and certificates are made from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from excise.files.hashing import sha256_file
from excise.prompts.questions import NEVER_SEEN
from excise.recipe.suite import Asking
from excise.trial.measure import Trial
from excise.trial.rounds import REPLAY, REPLAYED, rounds_of
from excise.verdict.measured import Measured, ModelMeasures
from excise.verdict.searched import Attacked, Point


def points_of(recipe: Asking) -> dict[str, Point]:
    """Every attack at every point by its name in the folder of images; none where replay is the only one."""
    found = {}
    for one in rounds_of(recipe):
        points = one.settings.points if one.settings else ()
        seeds = len(one.seeds(recipe, NEVER_SEEN))
        for key, steps in zip(one.keys, points or (None,), strict=True):
            found[key] = Point(attack=one.attack, variant=one.variant, steps=steps, seeds=seeds)
    return found if set(found) != {REPLAY} else {}


def attacked_of(trial: Trial, measured: Mapping[str, ModelMeasures]) -> tuple[Attacked, ...]:
    """A row for every image that was searched for.

    Args:
        trial: what was asked.
        measured: what came of it, by model.
    """
    numbers: dict[str, int] = {}
    rows = []
    for question in trial.targets:
        prompts, clusters = trial.asked[question], trial.clusters[question]
        for place, prompt in enumerate(prompts):
            number = numbers.setdefault(clusters[place], len(numbers))
            hits: dict[str, dict[str, int]] = {}
            likeness: dict[str, float] = {}
            for found in (REPLAYED, *trial.others):
                places = found.places(prompts)
                for key in found.keys if place in places else ():
                    for model, all_measures in measured.items():
                        sets = all_measures.sets if key == REPLAY else all_measures.other_attacks[key]
                        if question.key not in sets:
                            continue
                        count, near = _image(trial, sets[question.key], places.index(place))
                        hits.setdefault(key, {})[model] = count
                        likeness[model] = max(likeness.get(model, -2.0), near)
            if set(hits) - {REPLAY} and prompt.image is not None:
                digest = sha256_file(prompt.image)
                rows.append(Attacked(set=question.key, cluster=number, sha256=digest, hits=hits, likeness=likeness))
    return tuple(rows)


def _image(trial: Trial, measured: Measured, place: int) -> tuple[int, float]:
    """How many of the images of a prompt replicate, and how like the nearest is."""
    distance, similarity = np.array(measured.distance[place]), np.array(measured.ssim[place])
    hits = trial.instruments.rule.holds(distance, similarity)
    return int(np.sum(hits)), round(float((similarity - distance).max()), 6)
