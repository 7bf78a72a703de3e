"""Edited model against one that never saw the images: by attack, and image by image."""

from __future__ import annotations

import pytest

from excise.mathematics.permutation import paired, unpaired
from excise.recipe import Verdict as Limits
from excise.verdict.compare import certify, compare, may_be_wrong
from excise.verdict.decide import decide
from excise.verdict.search_checks import fate_of, search_checks
from tests.verdict.examples import THRESHOLD, models
from tests.verdict.searched import ATTACKS, HELD_OUT, LOCATED, NEVER, rows

KINDS = {"verbatim"}
HIDDEN = [*rows(HELD_OUT, [2] * 10, [2] * 8 + [0] * 2, [1] + [0] * 9), *rows(LOCATED, [2] * 4, [0] * 4, [0] * 4, 10)]
GONE = rows(HELD_OUT, [2] * 10, [1] + [0] * 9, [1] + [0] * 9)


def test_the_twin_is_compared_image_by_image() -> None:
    found = {(one.attack, one.set): one for one in compare(ATTACKS, HIDDEN)}
    assert found.keys() == {(key, name) for key in list(ATTACKS)[1:] for name in (HELD_OUT, LOCATED)}
    late = found["embedding/caption/50", HELD_OUT]
    assert (late.against, late.images, late.base.value, late.edited.value) == ("twin", 10, 1.0, 0.8)
    assert late.control.value == 0.05 and late.difference.value == 0.75
    assert late.difference.interval is not None and late.difference.interval[0] > 0.3
    assert late.p == pytest.approx(paired([2] * 8 + [0] * 2, [1] + [0] * 9), abs=1e-6) and late.p < 0.01
    early = found["embedding/caption/10", HELD_OUT]
    assert (early.difference.value, early.p, early.q) == (0.0, 1.0, 1.0)
    assert late.q == pytest.approx(4 * late.p, abs=1e-6)  # the smallest of four


def test_without_a_twin_never_seen_images_are_the_yardstick() -> None:
    made = [*rows(HELD_OUT, [2] * 6, [2] * 3 + [0] * 3, None), *rows(NEVER, [0] * 8, [1] + [0] * 7, None, 20)]
    late = compare(ATTACKS, made)[1]
    assert (late.against, late.images, late.edited.value, late.control.value) == ("never_seen", 6, 0.5, 0.0625)
    assert late.difference.value == pytest.approx(0.4375)
    assert late.p == pytest.approx(unpaired([2] * 3 + [0] * 3, [1] + [0] * 7), abs=1e-6)
    low, high = late.difference.interval or (1.0, 0.0)
    assert low < 0.4375 < high
    assert compare(ATTACKS, rows(HELD_OUT, [2], [2], None)) == ()  # nothing to compare with


def test_relearning_is_held_to_what_the_same_model_learns_of_images_that_it_never_saw() -> None:
    """A twin may learn any image more slowly; that says nothing of memory."""
    attacks = ATTACKS | {
        key: point.model_copy(update={"attack": "relearn"}) for key, point in ATTACKS.items() if point.steps
    }
    made, never = rows(HELD_OUT, [2] * 6, [2] * 4 + [0] * 2, [0] * 6), rows(NEVER, [0] * 6, [2] * 4 + [0] * 2, None, 20)
    late = compare(attacks, [*made, *never])[1]
    assert (late.against, late.control.value, late.difference.value) == ("never_seen", late.edited.value, 0.0)
    assert compare(ATTACKS, [*made, *never])[1].against == "twin"
    assert compare(attacks, made)[1].against == "twin"  # what there is


def test_prompts_of_one_template_are_one_image() -> None:
    made = [row.model_copy(update={"cluster": 0}) for row in rows(HELD_OUT, [2] * 3, [2] * 3, [0] * 3)]
    late = compare(ATTACKS, [*made, *rows(HELD_OUT, [2], [2], [0], 9)])[1]
    assert late.images == 2 and late.p == 0.25  # two signs, not four


def test_the_worst_point_of_the_curve_decides() -> None:
    made = rows(HELD_OUT, [2] * 4, [0] * 4, [0] * 4, early=[1] * 4)
    (check, other) = search_checks(ATTACKS, compare(ATTACKS, made), KINDS, Limits())[:2]
    assert (check.name, check.set, check.value, check.status) == ("embedding_replication", HELD_OUT, 0.5, "failed")
    assert "embedding/caption/10" in check.note and check.cases == 4 and check.controls.keys() == {"base", "twin"}
    assert (other.set, other.status) == (LOCATED, "not measured")
    waived = search_checks(ATTACKS, compare(ATTACKS, made), KINDS, Limits(embedding_replication=None))
    assert [found.status for found in waived] == ["not required"] * 2 + ["not applicable"] * 2
    assert search_checks({}, (), KINDS, Limits()) == ()


@pytest.mark.parametrize(
    ("edited", "made", "fate", "reasons"),
    [
        (0.02, HIDDEN, "hidden", 1),
        (0.02, GONE, "gone", 0),
        (0.9, GONE, "still there", 2),
        (0.02, [], "not searched", 0),
    ],
)
def test_what_becomes_of_the_images_has_a_word(edited: float, made: list, fate: str, reasons: int) -> None:
    """Hidden: replay finds nothing, search does. A word is not waived with its check."""
    attacks = ATTACKS if made else {}
    found = compare(attacks, made)
    for limits in (Limits(), Limits(embedding_replication=None)):
        checks, _ = decide(models(edited), THRESHOLD, ["verbatim"], limits, attacks, found)
        assert fate_of(checks, found) == fate
    weak = [one.model_copy(update={"base": one.base.model_copy(update={"value": 0.9})}) for one in found]
    assert fate_of(checks, weak) == ("unclear" if fate == "gone" else fate)  # the base's own do not come back
    said = [check for check in decide(models(edited), THRESHOLD, ["verbatim"], Limits(), attacks, found)[0]]
    failed = [check for check in said if check.status == "failed"]
    assert len(failed) == reasons


def test_an_image_is_certified_by_its_rank_among_those_of_a_model_that_never_saw_it() -> None:
    made = rows(HELD_OUT, [2] * 40, [2] * 5 + [0] * 35, [0] * 40)
    found = certify(ATTACKS, made, 0.2)
    assert [one.passes for one in found] == [False] * 5 + [True] * 35
    assert found[0].p == pytest.approx(1 / 41, abs=1e-6) and found[0].sha256 == f"{0:064x}"
    assert (found[0].attack, found[0].edited, found[0].control, found[0].base) == (
        "embedding/caption/50",
        1.0,
        0.0,
        1.0,
    )
    assert (found[-1].attack, found[-1].edited) == ("replay", 0.0)
    assert may_be_wrong(found) <= 4  # an estimate, of 35 p-values that are chance
    assert certify(ATTACKS, rows(HELD_OUT, [2], [2], None), 0.05) == ()


def test_some_that_pass_may_be_kept_for_all_that() -> None:
    """All lie among the nearest quarter of the twin's: none stands out, and yet they cannot all be chance."""
    made = rows(HELD_OUT, [2] * 40, [1] * 40, [1] * 10 + [0] * 30)
    found = certify(ATTACKS, made, 0.02)
    assert all(one.passes for one in found) and may_be_wrong(found) == 40


def test_templates_of_many_sizes_are_compared_in_little_memory() -> None:
    """Eight templates of different primes of prompts: their means have no common denominator that would fit."""
    sizes = (37, 41, 53, 11, 29, 31, 43, 47)
    made, first = [], 0
    for number, size in enumerate(sizes):
        some = rows(HELD_OUT, [2] * size, [1] + [2] * (size - 1), [0] * size, first)
        made += [row.model_copy(update={"cluster": number}) for row in some]
        first += size
    late = compare(ATTACKS, made)[1]
    assert late.images == 8 and late.p == pytest.approx(2.0**-8, abs=1e-6)
    never = rows(NEVER, [0] * 12, [0] * 12, None, 900)
    alone = [row.model_copy(update={"hits": {key: {name: hits[name] for name in ("base", "edited")}
                                             for key, hits in row.hits.items()}}) for row in made]  # fmt: skip
    late = compare(ATTACKS, [*alone, *never])[1]
    assert late.against == "never_seen" and 0.0 < late.p < 1e-4


def test_no_p_value_is_rounded_to_nothing() -> None:
    late = compare(ATTACKS, rows(HELD_OUT, [2] * 40, [2] * 40, [0] * 40))[1]
    assert late.p == pytest.approx(2.0**-40) and late.q > 0.0
