from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.recipe import Verdict, load_recipe
from excise.verdict.compare import compare
from excise.verdict.decide import decide
from excise.verdict.models import Check, ModelResult, Usefulness
from tests.verdict.examples import SETS, THRESHOLD, agreed, estimated, models, replicated
from tests.verdict.searched import ATTACKS, rows

KINDS = ("verbatim", "template")
Models = dict[str, ModelResult]


def changed(found: Models, change: Callable[[str, ModelResult], dict[str, object]]) -> Models:
    """Models with other values in each."""
    return {name: model.model_copy(update=change(name, model)) for name, model in found.items()}


def without(found: Models, *keys: str) -> Models:
    """Models that were not asked these questions."""
    return changed(found, lambda _, model: {"sets": {key: kept for key, kept in model.sets.items() if key not in keys}})


def named(checks: tuple[Check, ...], name: str, key: str | None = None) -> Check:
    (found,) = (check for check in checks if check.name == name and (key is None or check.set == key))
    return found


def test_a_good_edit_is_accepted() -> None:
    checks, reasons = decide(models(), THRESHOLD, KINDS, Verdict())
    assert reasons == ()
    assert [check.status for check in checks] == ["passed"] * 10 + ["not applicable"] * 2
    assert all(check.passed is (True if check.status == "passed" else None) for check in checks)
    held_out = named(checks, "held_out_replication")
    assert (held_out.model, held_out.value, held_out.limit) == ("edited", 0.02, 0.10)
    assert {name: found.value for name, found in held_out.controls.items()} == {
        "base": 0.98,
        "twin": 0.0,
        "random-1": 0.97,
    }
    assert all(found.interval is not None for found in held_out.controls.values())
    assert held_out.clear is True


def test_every_control_stands_beside_the_edited_model() -> None:
    checks, _ = decide(models(controls=3), THRESHOLD, KINDS, Verdict())
    others = {"twin", "random-1", "random-2", "random-3"}
    assert set(named(checks, "held_out_replication").controls) == others | {"base"}
    assert set(named(checks, "base_replication").controls) == others | {"edited"}
    drift = named(checks, "drift")
    assert {name: found.value for name, found in drift.controls.items()} == {
        "twin": 0.9,
        "random-1": 0.1,
        "random-2": 0.2,
        "random-3": 0.3,
    }
    assert set(named(checks, "agreement_drop").controls) == others
    assert named(checks, "false_positives").controls == {}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"edited": 0.11}, {"held_out_replication", "located_replication"}),
        ({"edited": 0.26}, {"held_out_replication", "located_replication", "template_replication"}),
        ({"drop": 0.021}, {"agreement_drop"}),
        ({"drift": 1.01}, {"drift"}),
    ],
)
def test_each_limit_refuses(change: dict[str, float], names: set[str]) -> None:
    checks, reasons = decide(models(**change), THRESHOLD, KINDS, Verdict())
    failed = [check for check in checks if check.status == "failed"]
    assert {check.name for check in failed} == names
    assert len(reasons) == len(failed) and all(check.passed is False for check in failed)


def test_a_ghost_is_refused_by_what_the_twin_gives_or_by_chance() -> None:
    def identified(**rates: float) -> Models:
        found = {name: model for name, model in models().items() if name in ("base", *rates)}
        sets = {name: {key: replicated(0.0, identified=rate) for key in SETS} for name, rate in rates.items()}
        return changed(found, lambda name, model: {"sets": sets.get(name, model.sets)})

    for rates, limit, status in (
        ({"edited": 0.30, "twin": 0.20}, 0.30, "passed"),
        ({"edited": 0.31, "twin": 0.20}, 0.30, "failed"),
        ({"edited": 0.35}, 0.35, "passed"),  # chance is an eighth
        ({"edited": 0.36}, 0.35, "failed"),
    ):
        checks, reasons = decide(identified(**rates), THRESHOLD, KINDS, Verdict())
        asked = [check for check in checks if check.name == "identification"]
        assert [check.set for check in asked] == ["held_out_verbatim", "located_verbatim"]
        assert all((check.status, check.limit) == (status, limit) for check in asked)
        assert len(reasons) == (2 if status == "failed" else 0)
    waived, _ = decide(identified(edited=0.9), THRESHOLD, KINDS, Verdict(identification=None))
    assert named(waived, "identification", "located_verbatim").status == "not required"


def test_a_set_of_one_image_identifies_nothing() -> None:
    alone = {"identification_rate": None, "identification_interval": None, "identification_chance": None}
    found = changed(
        models(), lambda _, model: {"sets": {key: kept.model_copy(update=alone) for key, kept in model.sets.items()}}
    )
    checks, reasons = decide(found, THRESHOLD, KINDS, Verdict())
    assert named(checks, "identification", "located_verbatim").status == "not measured"
    assert any("fewer than two verbatim training images are located" in reason for reason in reasons)


def test_an_edit_that_forgets_the_domain_is_refused() -> None:
    kept, lost = (
        Usefulness(agreement=agreed(0.9, drop), drift=estimated(drift)) for drop, drift in ((0, 0.4), (0.3, 1.4))
    )
    found = changed(models(), lambda name, _: {"neighbours": lost if name == "edited" else kept})
    checks, reasons = decide(found, THRESHOLD, KINDS, Verdict())
    drop, drift = (named(checks, f"neighbour_{name}") for name in ("agreement_drop", "drift"))
    assert (drop.status, drop.value, drift.status, drift.value) == ("failed", 0.3, "failed", 1.4)
    assert set(drop.controls) == set(drift.controls) == {"twin", "random-1"} and len(reasons) == 2
    assert drop.is_rate and not drift.is_rate and all("neighbours" in reason for reason in reasons)


def test_a_value_on_its_limit_passes() -> None:
    found = models(edited=0.10, drop=0.02, drift=1.0)
    checks, reasons = decide(found, THRESHOLD, KINDS, Verdict())
    assert not reasons
    assert named(checks, "drift").clear is False and named(checks, "agreement_drop").clear is False


def test_a_check_says_how_many_independent_cases_it_rests_on() -> None:
    checks, _ = decide(models(), THRESHOLD, KINDS, Verdict())
    assert {check.name: check.cases for check in checks} == {
        "base_replication": 6,
        "held_out_replication": 6,
        "located_replication": 6,
        "template_replication": 6,
        "false_positives": 32,
        "identification": 6,
        "agreement_drop": 20,
        "drift": None,
        "neighbour_agreement_drop": None,
        "neighbour_drift": None,
    }
    assert not any(check.on_few or check.doubtful for check in checks)
    found = models()
    alone = found["edited"].sets["held_out_template"].model_copy(update={"clusters": 2})
    edited = found["edited"].model_copy(update={"sets": found["edited"].sets | {"held_out_template": alone}})
    checks, _ = decide(found | {"edited": edited}, THRESHOLD, KINDS, Verdict())
    few = named(checks, "template_replication", "held_out_template")
    assert few.status == "passed" and few.clear and few.on_few and few.doubtful
    checks, _ = decide(without(models(), "held_out_template"), THRESHOLD, KINDS, Verdict())
    assert named(checks, "template_replication", "held_out_template").cases is None


def test_a_base_that_replicates_nothing_proves_nothing() -> None:
    found = models()
    base = found["base"].model_copy(update={"sets": found["base"].sets | {"held_out_verbatim": replicated(0.1)}})
    _, reasons = decide(found | {"base": base}, THRESHOLD, KINDS, Verdict())
    assert reasons == ("replication of held-out verbatim prompts, base: 10.0 %, must be at least 50 %",)


def test_a_threshold_that_never_seen_images_pass_is_refused() -> None:
    assert THRESHOLD.never_seen is not None
    errs = THRESHOLD.never_seen.model_copy(update={"false_positive_rate": 0.02, "interval": (0.0, 0.1)})
    _, reasons = decide(models(), THRESHOLD.model_copy(update={"never_seen": errs}), KINDS, Verdict())
    assert len(reasons) == 1 and "never-seen" in reasons[0] and "2.0 %, must be at most 0.1 %" in reasons[0]


def test_passing_by_less_than_the_interval_is_said() -> None:
    checks, reasons = decide(models(edited=0.08), THRESHOLD, KINDS, Verdict())
    assert not reasons
    held_out = named(checks, "held_out_replication")
    assert held_out.passed and held_out.clear is False and "reaches past" in held_out.note


def test_what_was_not_measured_refuses_unless_waived() -> None:
    found = changed(models(), lambda _, __: {"agreement": None})
    threshold = THRESHOLD.model_copy(update={"never_seen": None})
    checks, reasons = decide(found, threshold, KINDS, Verdict())
    assert named(checks, "agreement_drop").status == "not measured"
    assert named(checks, "false_positives", "never_seen").status == "not measured"
    assert named(checks, "agreement_drop").passed is False
    assert len(reasons) == 2 and all('"unchecked"' in reason for reason in reasons)
    waived = Verdict.model_validate({"agreement_drop": "unchecked", "false_positives": "unchecked"})
    checks, reasons = decide(found, threshold, KINDS, waived)
    assert not reasons
    check = named(checks, "agreement_drop")
    assert check.status == "not required" and check.passed is None and "no judge" in check.note


def test_what_is_waived_is_still_shown() -> None:
    checks, reasons = decide(models(drift=3.0), THRESHOLD, KINDS, Verdict(drift=None))
    drift = named(checks, "drift")
    assert not reasons and (drift.status, drift.value, drift.limit) == ("not required", 3.0, None)


def test_a_kind_that_the_table_lacks_is_not_applicable() -> None:
    found = without(models(), "held_out_template", "located_template")
    checks, reasons = decide(found, THRESHOLD, ["verbatim"], Verdict())
    assert not reasons
    assert named(checks, "template_replication", "held_out_template").status == "not applicable"
    checks, reasons = decide(found, THRESHOLD, KINDS, Verdict())  # templates there, but none with an image
    assert named(checks, "template_replication", "held_out_template").status == "not measured" and reasons


def test_templates_alone_are_judged_by_their_own_base() -> None:
    found = without(models(), "held_out_verbatim", "located_verbatim")
    checks, reasons = decide(found, THRESHOLD, ["template"], Verdict())
    assert not reasons
    assert named(checks, "base_replication", "held_out_template").status == "passed"


def test_an_edit_never_tried_on_unseen_prompts_is_refused() -> None:
    limits = Verdict.model_validate(
        {"held_out_replication": "unchecked", "template_replication": "unchecked", "base_replication": "unchecked"}
    )
    _, reasons = decide(models(), THRESHOLD, KINDS, limits)
    assert reasons == ("the edit was not checked on any memorized prompt that locating had not seen",)


@pytest.mark.parametrize(
    ("edited", "searched", "reason"),
    [
        (0, True, None),
        (6, True, "embedding search, located verbatim images: replication over that of a model that never saw them"),
        (0, False, "the edit was not checked on any memorized prompt that locating had not seen, and not searched"),
    ],
)
def test_where_none_is_held_out_the_edit_has_to_hold_against_a_search(
    edited: int, searched: bool, reason: str | None
) -> None:
    """Every image that is named is edited for: what shows that more than its prompt is gone is a search for it."""
    found = without(models(), "held_out_verbatim", "held_out_template")
    attacked = rows("located_verbatim", [2] * 8, [2] * edited + [0] * (8 - edited), [0] * 8)
    attacks, comparisons = (ATTACKS, compare(ATTACKS, attacked)) if searched else ({}, ())
    checks, reasons = decide(found, THRESHOLD, ["verbatim"], Verdict(), attacks, comparisons, whole=True)
    assert [one.partition(", edited")[0].startswith(reason or "") for one in reasons] == [True] * (reason is not None)
    assert named(checks, "base_replication", "located_verbatim").status == "passed"
    held_out = named(checks, "held_out_replication")
    assert (held_out.status, held_out.note) == (
        "not applicable",
        "no memorized prompt is held out: every one of the table is edited for",
    )
    assert "held_out_verbatim" not in {check.set for check in checks if check.name == "embedding_replication"}
    _, unless = decide(found, THRESHOLD, ["verbatim"], Verdict(), attacks, comparisons)
    assert len(unless) > len(reasons)


def test_a_case_alone_has_no_interval_and_no_certainty() -> None:
    edited = models()["edited"]
    assert edited.drift is not None
    alone = edited.model_copy(update={"drift": edited.drift.model_copy(update={"interval": None})})
    checks, reasons = decide(models() | {"edited": alone}, THRESHOLD, KINDS, Verdict())
    drift = named(checks, "drift")
    assert not reasons and drift.passed is True and drift.clear is None and drift.interval is None


def test_the_recipe_takes_the_word_unchecked_and_no_other(tmp_path: Path) -> None:
    text = 'name = "x"\n[model]\npath = "a"\n[prompts]\nmemorized = "m"\nordinary = "o"\njudged = "j"\n[verdict]\n'
    path = tmp_path / "recipe.toml"
    path.write_text(text + 'drift = "unchecked"\nagreement_drop = "unchecked"\n')
    limits = load_recipe(path).verdict
    assert limits.drift is None and limits.agreement_drop is None and limits.held_out_replication == 0.10
    path.write_text(text + 'drift = "none"\n')
    with pytest.raises(ExciseError, match=r"verdict\.drift"):
        load_recipe(path)
