"""Checks of a concept: what the base draws and the edited model does not, and nothing of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from excise.prompts.questions import CONCEPTS, JUDGED
from excise.recipe import Verdict as Limits
from excise.verdict.concept_checks import AGREEMENT, SEARCH, missing_of
from excise.verdict.decide import decide
from excise.verdict.foresee import foreseen
from excise.verdict.models import Agreement, Check, ModelResult
from excise.verdict.search_checks import fate_of
from tests.verdict.examples import THRESHOLD, agreed, models

LOCATED, HELD_OUT = (asked.key for asked in CONCEPTS)
KINDS = ["concept"]


def shown(rate: float) -> dict[str, Agreement]:
    return {key: agreed(rate, None) for key in (LOCATED, HELD_OUT)}


def forgetting(base: float = 0.95, edited: float = 0.03) -> dict[str, ModelResult]:
    """Models of a job that has a concept and no image."""
    rates = {"base": base, "edited": edited, "random-1": 0.9}
    found = {name: model.model_copy(update={"sets": {}}) for name, model in models().items() if name in rates}
    return {name: model.model_copy(update={"concept": shown(rates[name])}) for name, model in found.items()}


def decided(
    found: Mapping[str, ModelResult], limits: Limits | None = None
) -> tuple[dict[tuple[str, str | None], Check], tuple[str, ...]]:
    checks, reasons = decide(found, THRESHOLD, KINDS, limits or Limits())
    return {(check.name, check.set): check for check in checks}, reasons


def test_an_edit_that_forgets_it_is_accepted_and_no_image_is_spoken_of() -> None:
    checks, reasons = decided(forgetting())
    assert reasons == ()
    asked = [("base_concept", HELD_OUT), (AGREEMENT, HELD_OUT), (AGREEMENT, LOCATED)]
    assert list(checks) == [*asked, *((name, None) for name in (
        "agreement_drop", "drift", "neighbour_agreement_drop", "neighbour_drift"))]  # fmt: skip
    one = checks[AGREEMENT, HELD_OUT]
    assert (one.value, one.limit, one.relation, one.cases, one.status) == (0.03, 0.05, "at most", 20, "passed")
    assert {name: beside.value for name, beside in one.controls.items()} == {"base": 0.95, "random-1": 0.9}
    assert one.is_rate and one.question == "images that show the concept, held-out prompts that name it, edited"
    assert fate_of(tuple(checks.values()), ()) == "not searched"


def test_what_is_still_drawn_refuses() -> None:
    checks, reasons = decided(forgetting(edited=0.2))
    assert [reason.partition(":")[2] for reason in reasons] == [" 20.0 %, must be at most 5 %"] * 2
    assert fate_of(tuple(checks.values()), ()) == "still there"


def test_a_base_that_does_not_draw_it_leaves_nothing_to_forget() -> None:
    _, reasons = decided(forgetting(base=0.3))
    assert reasons == (
        "images that show the concept, held-out prompts that name it, base: 30.0 %, must be at least 50 %",
    )


def test_without_a_judge_nothing_is_passed_and_waiving_accepts_nothing() -> None:
    blind = {name: model.model_copy(update={"concept": {}}) for name, model in forgetting().items()}
    checks, reasons = decided(blind)
    assert {checks[key].status for key in list(checks)[:3]} == {"not measured"} and len(reasons) == 4
    assert "no judge reads what prompts.concept names" in reasons[0]
    waived = Limits.model_validate({"base_concept": "unchecked", "concept_agreement": "unchecked"})
    checks, reasons = decided(blind, waived)
    assert {checks[key].status for key in list(checks)[:3]} == {"not required"}
    assert reasons == ("the edit was not checked on any memorized prompt that locating had not seen",)


def test_an_edit_that_was_tried_on_none_held_out_is_refused() -> None:
    seen = {
        name: model.model_copy(update={"concept": {LOCATED: model.concept[LOCATED]}})
        for name, model in forgetting().items()
    }
    _, reasons = decided(seen, Limits(base_concept=None))
    assert any("or no prompt that names it is held out" in reason for reason in reasons)


def test_what_cannot_be_measured_is_told_before() -> None:
    held, located = CONCEPTS[1], CONCEPTS[0]
    assert foreseen([*CONCEPTS, JUDGED], KINDS, Limits(), reads=True, shown=True) == ()
    notes = foreseen([*CONCEPTS, JUDGED], KINDS, Limits(), reads=True, shown=False)
    assert [note.partition(":")[0] for note in notes] == [
        "verdict.base_concept, verdict.concept_agreement", "verdict.concept_agreement"
    ]  # fmt: skip
    assert missing_of(held) in notes[0] and missing_of(located) in notes[1]
    notes = foreseen([located, JUDGED], KINDS, Limits(), reads=True, shown=True)
    assert len(notes) == 2 and "no prompt that names the concept is held out" in notes[1]
    waived = Limits(base_concept=None, concept_agreement=None)
    assert foreseen([*CONCEPTS, JUDGED], KINDS, waived, reads=True, shown=False) == ()


def searched(
    sets: Sequence[str] = (HELD_OUT, LOCATED), drawn: float = 0.0, **rates: dict[str, float]
) -> dict[str, ModelResult]:
    """Models of which a search was made: rates by model, then by point; ``drawn`` is what a twin draws unasked."""
    found = forgetting()
    if "twin" in rates:
        found["twin"] = models()["twin"].model_copy(update={"sets": {}, "concept": shown(drawn)})
    return {
        name: model.model_copy(
            update={
                "concept_searched": {key: dict.fromkeys(sets, agreed(rate, None)) for key, rate in rates[name].items()}
            }
            if name in rates
            else {}
        )
        for name, model in found.items()
    }


def test_a_search_that_brings_it_back_makes_it_hidden() -> None:
    checks, reasons = decided(searched([HELD_OUT], base={"a": 0.6, "b": 1.0}, edited={"a": 0.1, "b": 0.5}))
    one = checks[SEARCH, HELD_OUT]
    assert (one.value, one.limit, one.status, one.cases) == (0.5, 0.1, "failed", 20) and checks[
        SEARCH, LOCATED
    ].value is None
    assert one.note.startswith("most at b: 50 % of the edited model's images, 100 % of the base's; no twin")
    assert one.is_rate and one.controls["base"].value == 1.0
    assert len(reasons) == 2 and "off no picture that the base drew to be searched for" in reasons[1]
    assert fate_of(tuple(checks.values()), ()) == "hidden"
    waived, reasons = decided(searched(base={"b": 1.0}, edited={"b": 0.5}), Limits(concept_search=None))
    assert reasons == () and fate_of(tuple(waived.values()), ()) == "hidden", "a word is not waived"


def test_what_a_twin_draws_under_the_same_search_does_not_count() -> None:
    base, edited = {"a": 0.98, "b": 1.0}, {"a": 0.2, "b": 0.5}
    checks, reasons = decided(searched(base=base, edited=edited, twin={"a": 0.0, "b": 0.45}))
    one = checks[SEARCH, HELD_OUT]
    assert one.value == 0.2 and one.note.startswith("most at a: 20 %") and "no twin" not in one.note
    assert one.interval is not None and one.interval[0] < 0.2 < one.interval[1] and len(reasons) == 2
    checks, reasons = decided(searched(base=base, edited={"a": 0.05, "b": 0.5}, twin={"a": 0.0, "b": 0.45}))
    assert checks[SEARCH, HELD_OUT].value == 0.05 and reasons == ()


def test_a_twin_that_draws_it_too_is_no_control() -> None:
    found = searched(drawn=0.9, base={"b": 1.0}, edited={"b": 0.5}, twin={"b": 1.0})
    checks, reasons = decided(found)
    one = checks[SEARCH, HELD_OUT]
    assert one.value == 0.5 and "no twin that was never shown it" in one.note and len(reasons) == 2
    assert one.controls["twin"].value == 1.0


def test_only_a_search_that_is_strong_on_the_base_tells_that_it_is_gone() -> None:
    for strength, fate in ((1.0, "gone"), (0.9, "unclear")):
        found = searched(base={"a": 0.0, "b": strength}, edited={"a": 0.0, "b": 0.0})
        checks, reasons = decided(found)
        assert reasons == () and fate_of(tuple(checks.values()), ()) == fate
        assert ("passing it says little" in checks[SEARCH, HELD_OUT].note) is (fate == "unclear")
