"""Numbers worked out by hand: images are of one level each, so that a distance is a difference of levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from excise.mathematics.intervals import rate_interval, wilson
from excise.measures.replication import Rule, Target
from excise.prompts.prompt import Prompt
from excise.verdict.estimates import (
    COMPARED,
    caption_agreement,
    clusters_of,
    drift,
    false_positives,
    measure_images,
    replication,
    rounded,
    seed_diversity,
)
from excise.verdict.measured import Measured

CPU = torch.device("cpu")
RULE = Rule(distance=0.25, ssim=None, tiles=2)


def level(value: float) -> Tensor:
    return torch.full((3, 16, 16), value)


def drawn(*levels: float) -> Tensor:
    """Images of one prompt, a seed per level: ``(seeds, 3, 16, 16)``."""
    return torch.stack([level(value) for value in levels])


def targets(*levels: float) -> list[Target]:
    return [Target(level(value), None) for value in levels]


def test_clusters_are_templates_else_images_else_prompts() -> None:
    image = Path("a.png")
    prompts = [
        Prompt("one", image, group="mats"),
        Prompt("two", Path("b.png"), group="mats"),
        Prompt("three", image),
        Prompt("four", image),
        Prompt("five"),
        Prompt("mats"),
    ]
    found = clusters_of(prompts)
    assert found[0] == found[1] and found[2] == found[3]
    assert len(set(found)) == 4  # a text or a file called like a template is not that template


def test_distances_and_similarities_of_each_image_to_its_own_target() -> None:
    found = measure_images([drawn(0.5, 0.9), drawn(0.1, 0.2)], targets(0.5, 0.0), ["a", "b"], RULE, None, CPU)
    assert found.distance == ((0.0, 0.4), (0.1, 0.2)) and found.sscd is None
    assert found.ssim[0][0] == 1.0
    c1 = 0.01**2  # of flat images: (2xy + C1) / (x² + y² + C1)
    expected = [(2 * 0.9 * 0.5 + c1) / (0.81 + 0.25 + c1), c1 / (0.01 + c1), c1 / (0.04 + c1)]
    assert [found.ssim[0][1], *found.ssim[1]] == pytest.approx(expected, abs=1e-4)


def test_only_what_the_mask_keeps_is_measured_and_the_worst_tile_counts() -> None:
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, :8] = True
    image = level(0.5)
    image[:, :, 8:] = 1.0
    image[:, :8, :8] = 0.8
    found = measure_images([image[None]], [Target(level(0.5), mask)], ["a"], RULE, None, CPU)
    assert found.identified is None  # the nearest of one
    assert found.distance[0][0] == pytest.approx(0.3, abs=1e-6)


class Rows(nn.Module):
    """A descriptor: the levels of the first channel above and below, after undoing ImageNet's normalisation."""

    def forward(self, images: Tensor) -> Tensor:
        plain = images[:, 0] * 0.229 + 0.485
        return torch.stack([plain[:, :100].mean(dim=(1, 2)), plain[:, -100:].mean(dim=(1, 2))], dim=1)


def test_copy_detection_is_the_cosine_with_the_target() -> None:
    halves = level(0.0)
    halves[:, :8] = 1.0
    found = measure_images([torch.stack([level(0.5), halves])], [Target(halves, None)], ["a"], RULE, Rows(), CPU)
    assert found.sscd is not None
    assert found.sscd[0] == pytest.approx((np.sqrt(0.5), 1.0), abs=1e-4)  # (½, ½) and (1, 0) with (1, 0)


MEASURED = Measured(
    distance=((0.1, 0.2, 0.3), (0.3, 0.4, 0.5), (0.25, 0.9, 0.9), (0.0, 0.1, 0.2)),
    ssim=((0.9, 0.5, 0.9), (0.1, 0.1, 0.1), (0.2, 0.2, 0.2), (0.6, 0.6, 0.6)),
    identified=((True, True, True), (False, False, True), (True, False, False), (True, True, True)),
    sscd=None,
)
"""Four prompts, three seeds; at most 0.25: 2, 0, 1 and 3 of three."""


def test_rates_are_shares_of_images_and_of_prompts() -> None:
    found = replication(MEASURED, RULE, ["a", "b", "c", "d"], None)
    assert (found.prompts, found.clusters, found.seeds) == (4, 4, 3)
    assert (found.memorization_rate, found.images_ever_replicated) == (0.5, 0.75)
    assert (found.median_distance, found.smallest_distance) == (0.275, 0.0)
    assert found.mean_ssim == pytest.approx((2.3 + 0.3 + 0.6 + 1.8) / 12, abs=1e-6)
    assert found.median_sscd is None and found.largest_sscd is None and found.seed_diversity is None
    assert found.interval is not None and found.images_ever_replicated_interval is not None
    assert found.interval[0] < 0.5 < found.interval[1]
    scored = wilson(0.5, 4)  # never narrower
    assert found.interval[0] <= rounded(scored.low) and found.interval[1] >= rounded(scored.high)
    assert found.rate.value == 0.5 and found.rate.interval == found.interval


def test_structure_is_asked_for_where_the_rule_does() -> None:
    found = replication(MEASURED, Rule(0.25, 0.6, 2), ["a", "b", "c", "d"], None)
    assert found.memorization_rate == pytest.approx(4 / 12, abs=1e-6)  # one of the first, three of the last
    assert found.images_ever_replicated == 0.5


def test_prompts_of_one_template_are_one_case() -> None:
    apart = replication(MEASURED, RULE, ["a", "b", "c", "d"], None)
    joined = replication(MEASURED, RULE, ["a", "a", "c", "c"], None)
    assert joined.clusters == 2 and joined.memorization_rate == apart.memorization_rate
    assert joined.interval is not None and apart.interval is not None
    assert joined.interval[1] - joined.interval[0] > apart.interval[1] - apart.interval[0]
    alone = replication(MEASURED, RULE, ["a"] * 4, None)
    per_prompt = [2 / 3, 0, 1 / 3, 1]
    one = rate_interval(per_prompt, ["a"] * 4)
    assert alone.interval == (rounded(one.low), rounded(one.high))  # Wilson's alone: nothing to resample


def test_the_nearest_training_image_of_the_set_is_its_own_or_not() -> None:
    made = [drawn(0.5, 0.9), drawn(0.2, 0.45), drawn(0.95, 0.2)]
    found = measure_images(made, targets(0.5, 0.2, 1.0), ["a", "b", "c"], RULE, None, CPU)
    assert found.identified == ((True, False), (True, False), (True, False))
    joined = measure_images(made, targets(0.5, 0.2, 1.0), ["a", "b", "a"], RULE, None, CPU)
    # 0.9 is nearer to its template's other image than to its own, which is no rival
    assert joined.identified == ((True, True), (True, False), (True, False))


def test_an_identification_rate_has_its_chance_beside_it() -> None:
    found = replication(MEASURED, RULE, ["a", "b", "c", "d"], None)
    assert found.identification_rate == pytest.approx(8 / 12, abs=1e-6)
    assert found.identification is not None and found.identification.interval is not None
    assert found.identification.interval[0] < 8 / 12 < found.identification.interval[1]
    assert found.identification_chance == 0.25
    joined = replication(MEASURED, RULE, ["a", "a", "c", "d"], None)
    assert joined.identification_chance == pytest.approx((1 / 3 + 1 / 3 + 1 / 4 + 1 / 4) / 4, abs=1e-6)
    unknown = replication(MEASURED.model_copy(update={"identified": None}), RULE, ["a"] * 4, None)
    assert unknown.identification is None and unknown.identification_chance is None


def test_similarities_of_a_copy_detector() -> None:
    measured = Measured(distance=((0.1, 0.2),), ssim=((1.0, 1.0),), identified=None, sscd=((0.25, 0.75),))
    found = replication(measured, RULE, ["a"], None)
    assert (found.median_sscd, found.largest_sscd) == (0.5, 0.75)


def test_false_positives_by_hand() -> None:
    """Distances of images at 0, 0.1 and 1, 0.5 to never-seen images at 0.2 and 0.9: four of eight are in reach."""
    found = false_positives([drawn(0.0, 0.1), drawn(1.0, 0.5)], targets(0.2, 0.9), Rule(0.35, None, 2), ["a", "b"])
    # from 0.2: 0.2 yes, 0.1 yes, 0.8 no, 0.3 yes; from 0.9: 0.9 no, 0.8 no, 0.1 yes, 0.4 no
    assert (found.prompts, found.seeds, found.pairs) == (2, 2, 8)
    assert found.false_positive_rate == 0.5
    assert found.own_rate == 0.75  # of their own prompt: both of the first, one of the second
    assert found.smallest_distance == pytest.approx(0.1, abs=1e-6)
    assert found.interval is not None and found.interval[0] <= 0.5 <= found.interval[1]
    assert found.own_interval is not None and found.own_interval[0] <= 0.75 <= found.own_interval[1]


def test_what_is_resampled_is_the_never_seen_image() -> None:
    """Every image is near to every second of its targets: images agree, targets differ as much as they can."""
    names = [str(i) for i in range(64)]
    found = false_positives([drawn(0.5, 0.5) for _ in names], targets(*[0.5, 1.0] * 32), RULE, names)
    assert found.false_positive_rate == 0.5 and found.pairs == 64 * COMPARED * 2
    expected, narrower = rate_interval([1.0, 0.0] * 32, names), rate_interval([0.5] * 64, names)
    assert found.interval == (rounded(expected.low), rounded(expected.high))
    assert found.interval[0] < narrower.low - 0.001 and found.interval[1] > narrower.high + 0.001


def test_each_image_is_compared_with_so_many_never_seen_images_and_no_more() -> None:
    count = COMPARED + 8
    far = targets(*[1.0] * count)
    near = [Target(level(0.0), None), *far[1:]]
    images = [drawn(0.0) for _ in range(count)]
    names = [str(i) for i in range(count)]
    found = false_positives(images, near, RULE, names)
    assert found.pairs == count * COMPARED and found.prompts == count
    # the first target is compared with its own image and those of the prompts before it, round the table's end
    assert found.false_positive_rate == pytest.approx(COMPARED / found.pairs, abs=1e-6)
    assert found.own_rate == pytest.approx(1 / count, abs=1e-6)


def test_seed_diversity_is_the_mean_distance_between_seeds() -> None:
    images = [drawn(0.0, 0.3, 0.9), drawn(0.5, 0.5, 0.5)]
    found = seed_diversity(images, ["a", "b"])
    assert found is not None and found.value == pytest.approx((0.3 + 0.6 + 0.9) / 3 / 2, abs=1e-6)
    assert found.interval == pytest.approx((0.0, 0.6), abs=1e-6)  # all draws of two lie between the two
    alone = seed_diversity(images, ["a", "a"])
    assert alone is not None and alone.interval is None
    pair = seed_diversity([drawn(0.1, 0.3)], ["a"])
    assert pair is not None and pair.value == pytest.approx(0.2, abs=1e-6)
    assert seed_diversity([drawn(0.1), drawn(0.2)], ["a", "b"]) is None


def test_drift_is_told_in_distances_between_seeds_of_the_base() -> None:
    base = [drawn(0.0, 0.4), drawn(0.2, 0.4)]  # apart by 0.4 and 0.2, 0.3 in the mean
    edited = [drawn(0.1, 0.4), drawn(0.2, 0.3)]  # moved by 0.05 each
    found = drift(edited, base, ["a", "b"])
    assert found is not None and found.value == pytest.approx(0.05 / 0.3, abs=1e-6)
    assert found.interval == pytest.approx((0.05 / 0.4, 0.05 / 0.2), abs=1e-6)
    unmoved = drift(base, base, ["a", "b"])
    assert unmoved is not None and (unmoved.value, unmoved.interval) == (0.0, (0.0, 0.0))


def test_without_distance_between_seeds_there_is_no_measure_of_drift() -> None:
    assert drift([drawn(0.1, 0.1)], [drawn(0.5, 0.5)], ["a"]) is None


def test_drift_pairs_prompt_with_prompt() -> None:
    with pytest.raises(ValueError):
        drift([drawn(0.0, 0.1)], [drawn(0.0, 0.1), drawn(0.0, 0.1)], ["a", "b"])


def test_agreement_and_its_loss_by_hand() -> None:
    base = [(True, True), None, (True, True), (True, False)]
    edited = [(True, False), None, (False, False), (True, True)]
    names = ["a", "b", "c", "d"]
    before, after = caption_agreement(base, None, names), caption_agreement(edited, base, names)
    assert before is not None and after is not None
    assert (before.rate, before.drop) == (pytest.approx(5 / 6, abs=1e-6), None)
    assert (after.rate, after.prompts, after.seeds, after.prompts_without_label) == (0.5, 3, 2, 1)
    assert after.drop is not None and after.drop.value == pytest.approx((0.5 + 1.0 - 0.5) / 3, abs=1e-6)
    assert after.drop.interval is not None and after.drop.interval[0] < after.drop.value < after.drop.interval[1]
    gain = caption_agreement(base, edited, names)
    assert gain is not None and gain.drop is not None and gain.drop.value == -after.drop.value


def test_agreement_of_captions_that_name_nothing_is_not_measured() -> None:
    assert caption_agreement([None, None], None, ["a", "b"]) is None
    assert caption_agreement([None], [None], ["a"]) is None
