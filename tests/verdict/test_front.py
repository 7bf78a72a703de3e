"""Which edits no other beats, what the limits say of each, and which is chosen."""

from __future__ import annotations

from excise.recipe import Verdict as Limits
from excise.verdict.front import came_back, choose, damaged, front, standings
from excise.verdict.models import ModelResult, Usefulness
from tests.verdict.examples import SETS, THRESHOLD, estimated, replicated, result

KINDS = ("template", "verbatim")
BASE = result("base", 0.9, changed=None)


def edit(back: float, drift: float, drop: float = 0.0) -> ModelResult:
    return result("edited", back, drop, drift)


def test_a_place_is_on_the_front_if_none_is_smaller_in_one_number_and_no_larger_in_the_other() -> None:
    places = {
        "a": (0.0, 1.0),
        "b": (0.5, 0.5),
        "c": (0.5, 0.6),
        "d": (1.0, 0.0),
        "e": (0.6, 0.4),
        "twin of b": (0.5, 0.5),
    }
    assert front(places) == {"a", "b", "d", "e", "twin of b"}
    assert front({}) == set()


def test_what_comes_back_is_of_all_sets_and_of_a_search_where_there_was_one() -> None:
    found = edit(0.2, 0.1)
    sets = {**found.sets, "located_template": replicated(0.6).model_copy(update={"prompts": 24})}
    assert came_back(found) == 0.2
    mixed = found.model_copy(update={"sets": sets})
    assert abs(came_back(mixed) - (3 * 8 * 0.2 + 24 * 0.6) / 48) < 1e-9
    searched = {"embedding/caption/50": {"located_verbatim": replicated(0.9)}}
    assert came_back(found.model_copy(update={"other_attacks": searched})) == 0.9


def test_damage_is_the_larger_drift() -> None:
    assert (damaged(BASE), damaged(edit(0.1, 0.4))) == (0.0, 0.4)
    beside = Usefulness(agreement=None, drift=estimated(0.7))
    assert damaged(edit(0.1, 0.4).model_copy(update={"neighbours": beside})) == 0.7


def test_limits_are_those_of_the_verdict_and_decide_before_anything_else() -> None:
    results = {
        "harsh": edit(0.0, 1.5),
        "mild": edit(0.5, 0.1),
        "good": edit(0.05, 0.9),
        "better": edit(0.05, 0.8),
        "all": edit(0.0, 0.05),
    }
    found = standings(BASE, results, {"all"}, THRESHOLD, KINDS, Limits())
    assert [one.name for one in found] == ["better", "good", "harsh", "mild", "all"]
    by_name = {one.name: one for one in found}
    assert [check.name for check in by_name["harsh"].exceeded] == ["drift"]
    assert {check.name for check in by_name["mild"].exceeded} == {
        "held_out_replication", "located_replication", "template_replication",
    }  # fmt: skip
    assert by_name["better"].within and not by_name["harsh"].within
    assert {one.name for one in found if one.on_front} == {"better", "harsh", "mild"}, "a control beats none"
    best = choose(found, {"all"})
    assert best is not None and best.name == "better"
    assert choose([], ()) is None
    (tolerant, *_) = standings(BASE, results, {"all"}, THRESHOLD, KINDS, Limits(drift=None))
    assert tolerant.name == "harsh", "with its limit waived the least comes back of it"


def test_agreement_and_identification_count_too_and_what_was_not_measured_is_named() -> None:
    ghosts = {key: replicated(0.0, identified=0.6) for key in SETS}
    results = {
        "ghost": edit(0.0, 0.1).model_copy(update={"sets": ghosts}),
        "useless": edit(0.0, 0.1, drop=0.3),
        "unjudged": edit(0.0, 0.1).model_copy(update={"agreement": None}),
    }
    found = {one.name: one for one in standings(BASE, results, (), THRESHOLD, KINDS, Limits())}
    assert [check.name for check in found["ghost"].exceeded] == ["identification", "identification"]
    assert [check.name for check in found["useless"].exceeded] == ["agreement_drop"]
    assert found["unjudged"].within and [check.name for check in found["unjudged"].unmeasured] == ["agreement_drop"]
