"""Checks of prompt search and relearning, and when the silence of attacks may be believed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from excise.prompts.questions import Kind
from excise.recipe import Verdict as Limits
from excise.verdict.compare import compare
from excise.verdict.making import make_check
from excise.verdict.search_checks import fate_of, search_checks, strength
from excise.verdict.searched import Attacked, Estimate, Point
from tests.verdict.searched import HELD_OUT, SEEDS, rows

WAYS = {"embedding/empty/50": "embedding", "prompt/gibbs/50": "prompt", "relearn/itself/50": "relearn"}


def attacks_of(*names: str) -> dict[str, Point]:
    points = {
        key: Point(attack=name, variant=key.split("/")[1], steps=50, seeds=SEEDS)
        for key, name in WAYS.items()
        if name in names
    }
    return {"replay": Point(attack="replay", variant="", steps=None, seeds=4), **points}


def images(
    brought: dict[str, tuple[Sequence[int], Sequence[int], Sequence[int]]], name: str = HELD_OUT
) -> list[Attacked]:
    """Images of one set: seeds that replicate of base, edited and twin, by attack."""
    count = len(next(iter(brought.values()))[0])
    plain = rows(name, [2] * count, [0] * count, [0] * count)
    found = []
    for i, row in enumerate(plain):
        hits = {"replay": row.hits["replay"]}
        for key, attack in WAYS.items():
            if attack in brought:
                base, edited, twin = (made[i] for made in brought[attack])
                hits[key] = {"base": base, "edited": edited, "twin": twin}
        found.append(row.model_copy(update={"hits": hits}))
    return found


def judged(
    brought: dict[str, tuple[Sequence[int], Sequence[int], Sequence[int]]], limits: Limits | None = None
) -> tuple[dict[str, tuple[str, float | None, str]], str]:
    """Of held-out images each check's status, value and note by name; and what became of the images."""
    attacks = attacks_of(*brought)
    comparisons = compare(attacks, images(brought))
    checks = search_checks(attacks, comparisons, {Kind.VERBATIM}, limits or Limits())
    told = {check.name: (check.status, check.value, check.note) for check in checks if check.set == HELD_OUT}
    return told, fate_of(checks, comparisons)


ALL, NONE = [2] * 8, [0] * 8
STRONG = (ALL, NONE, NONE)


@pytest.mark.parametrize(("attack", "name"), [("prompt", "prompt_replication"), ("relearn", "relearning")])
def test_what_comes_back_sooner_than_from_the_twin_is_hidden(attack: str, name: str) -> None:
    """Though embedding search, which is strong, brings nothing back."""
    told, fate = judged({"embedding": STRONG, attack: (ALL, [2] * 4 + [0] * 4, NONE)})
    assert told.keys() == {"embedding_replication", name}
    assert told[name][:2] == ("failed", 0.5) and told["embedding_replication"][0] == "passed" and fate == "hidden"
    told, fate = judged({"embedding": STRONG, attack: (ALL, ALL, ALL)})  # from the twin no less: it was learned anew
    assert told[name][:2] == ("passed", 0.0) and fate == "gone"
    waived = Limits.model_validate({name: "unchecked"})
    told, fate = judged({"embedding": STRONG, attack: (ALL, ALL, NONE)}, waived)
    assert told[name][0] == "not required" and fate == "hidden"  # the word is not waived


def test_a_check_is_there_where_the_attack_is_made() -> None:
    told, _ = judged({"prompt": STRONG})
    assert told.keys() == {"prompt_replication"}


@pytest.mark.parametrize("attack", ["prompt", "relearn"])
def test_only_embedding_search_makes_silence_mean_anything(attack: str) -> None:
    """The base gives its images for their captions, where prompt search and relearning begin: all come back of it."""
    assert judged({attack: STRONG})[1] == "unclear"
    weak = ([2] * 4 + [0] * 4, NONE, NONE)
    assert judged({"embedding": weak, attack: STRONG})[1] == "unclear"
    assert judged({"embedding": STRONG, attack: weak})[1] == "gone"
    assert strength(compare(attacks_of(attack), images({attack: STRONG}))) is None


def test_a_weak_attack_says_so() -> None:
    told, _ = judged({"embedding": STRONG, "prompt": ([2] * 2 + [0] * 6, NONE, NONE)})
    assert "brings back 25 % of the base's images at most: passing it says little" in told["prompt_replication"][2]
    assert "says little" not in told["embedding_replication"][2]


def test_kinds_that_one_attack_leaves_out_are_not_missed_by_it() -> None:
    attacks, template = attacks_of("embedding", "relearn"), "held_out_template"
    made = [*images({"embedding": STRONG, "relearn": STRONG}), *images({"embedding": STRONG}, template)]
    checks = search_checks(attacks, compare(attacks, made), set(Kind), Limits())
    told = {(check.name, check.set): check for check in checks}
    assert told["embedding_replication", template].status == "passed"
    assert told["relearning", template].note == "the recipe searches for no template image (attack.relearn.kinds)"
    assert told["relearning", HELD_OUT].question.startswith("relearning, held-out verbatim images: ")


def test_images_that_the_search_was_not_made_on_are_not_called_gone() -> None:
    """Of templates only replay was tried: that it is silent says nothing of a search."""
    attacks, limits = attacks_of("embedding"), Limits()
    comparisons = compare(attacks, images({"embedding": STRONG}))
    searched = search_checks(attacks, comparisons, {Kind.VERBATIM}, limits)
    replayed = make_check(
        "template_replication", "", "edited", "held_out_template", 0.25, found=Estimate(value=0.0, interval=None),
        missing="",
    )  # fmt: skip
    assert fate_of(searched, comparisons) == "gone"
    assert fate_of([replayed, *searched], comparisons) == "unclear"


def test_what_a_check_found_is_said_where_its_interval_is_wide_too() -> None:
    told, _ = judged({"embedding": (ALL, NONE, NONE)})
    status, value, note = told["embedding_replication"]
    assert (status, value) == ("passed", 0.0)
    assert "most at embedding/empty/50" in note and "reaches past the limit" in note
