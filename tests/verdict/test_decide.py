from typing import Any

import pytest

from excise.errors import ExciseError
from excise.recipe import Verdict, load_recipe
from excise.verdict.decide import decide


def rate(value: float, width: float = 0.05) -> dict[str, Any]:
    return {"memorization_rate": value, "interval": [max(0.0, value - width), min(1.0, value + width)]}


def estimate(value: float, width: float = 0.005) -> dict[str, Any]:
    return {"value": value, "interval": [value - width, value + width]}


SETS = ("held_out_verbatim", "located_verbatim", "held_out_template", "located_template")


def measured(edited: float = 0.02, drop: float = 0.01, drift: float = 0.2) -> dict[str, Any]:
    """A plausible, accepted run: base replicates, the edit does not, the random edit changes nothing."""

    def arm(level: float, drop: float | None, moved: float | None) -> dict[str, Any]:
        return {
            "sets": {key: rate(level) for key in SETS},
            "agreement": {"rate": 0.95, "interval": [0.93, 0.97], "drop": drop if drop is None else estimate(drop)},
            "drift": moved if moved is None else estimate(moved),
        }

    return {
        "base": arm(0.98, None, None),
        "edited": arm(edited, drop, drift),
        "twin": arm(0.0, 0.0, 0.9),
        "random-1": arm(0.97, 0.0, 0.1),
    }


THRESHOLD = {"never_seen": {"false_positive_rate": 0.0, "interval": [0.0, 0.0005]}}
KINDS = ("verbatim", "template")


def statuses(checks: list[dict[str, Any]]) -> dict[tuple[str, str | None], str]:
    return {(check["name"], check["set"]): check["status"] for check in checks}


def test_a_good_edit_is_accepted():
    checks, reasons = decide(measured(), THRESHOLD, KINDS, Verdict())
    assert reasons == []
    assert {check["status"] for check in checks} == {"passed"} and len(checks) == 8
    held_out = next(check for check in checks if check["name"] == "held_out_replication")
    assert {name: found["value"] for name, found in held_out["controls"].items()} == {
        "base": 0.98,
        "twin": 0.0,
        "random-1": 0.97,
    }
    assert all(len(found["interval"]) == 2 for found in held_out["controls"].values())
    assert held_out["clear"] is True


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"edited": 0.11}, {"held_out_replication", "located_replication"}),
        ({"edited": 0.26}, {"held_out_replication", "located_replication", "template_replication"}),
        ({"drop": 0.021}, {"agreement_drop"}),
        ({"drift": 0.51}, {"drift"}),
    ],
)
def test_each_limit_refuses(change: dict[str, float], names: set[str]):
    checks, reasons = decide(measured(**change), THRESHOLD, KINDS, Verdict())
    assert {check["name"] for check in checks if check["status"] == "failed"} == names
    assert reasons


def test_a_base_that_replicates_nothing_proves_nothing():
    arms = measured()
    arms["base"]["sets"]["held_out_verbatim"] = rate(0.1)
    _, reasons = decide(arms, THRESHOLD, KINDS, Verdict())
    assert reasons == ["replication of held-out verbatim prompts, base: 10.0 %, must be at least 50 %"]


def test_a_threshold_that_never_seen_images_pass_is_refused():
    _, reasons = decide(
        measured(), {"never_seen": {"false_positive_rate": 0.02, "interval": [0, 0.1]}}, KINDS, Verdict()
    )
    assert len(reasons) == 1 and "never-seen" in reasons[0]


def test_passing_by_less_than_the_interval_is_said():
    checks, reasons = decide(measured(edited=0.08), THRESHOLD, KINDS, Verdict())
    assert not reasons
    held_out = next(check for check in checks if check["name"] == "held_out_replication")
    assert held_out["passed"] and held_out["clear"] is False and "reaches past" in held_out["note"]


def test_what_was_not_measured_refuses_unless_waived():
    arms = measured()
    for arm in arms.values():
        arm["agreement"] = None
    checks, reasons = decide(arms, {"never_seen": None}, KINDS, Verdict())
    assert statuses(checks)[("agreement_drop", None)] == "not measured"
    assert statuses(checks)[("false_positives", "never_seen")] == "not measured"
    assert len(reasons) == 2 and all('"unchecked"' in reason for reason in reasons)
    waived = Verdict.model_validate({"agreement_drop": "unchecked", "false_positives": "unchecked"})
    checks, reasons = decide(arms, {"never_seen": None}, KINDS, waived)
    assert not reasons
    waived_check = next(check for check in checks if check["name"] == "agreement_drop")
    assert (
        waived_check["status"] == "not required"
        and waived_check["passed"] is None
        and "no judge" in waived_check["note"]
    )


def test_a_kind_that_the_table_lacks_is_not_applicable():
    arms = measured()
    for arm in arms.values():
        del arm["sets"]["held_out_template"], arm["sets"]["located_template"]
    checks, reasons = decide(arms, THRESHOLD, ["verbatim"], Verdict())
    assert not reasons
    assert statuses(checks)[("template_replication", "held_out_template")] == "not applicable"
    checks, reasons = decide(arms, THRESHOLD, KINDS, Verdict())  # templates there, but none with an image
    assert statuses(checks)[("template_replication", "held_out_template")] == "not measured" and reasons


def test_templates_alone_are_judged_by_their_own_base():
    arms = measured()
    for arm in arms.values():
        del arm["sets"]["held_out_verbatim"], arm["sets"]["located_verbatim"]
    checks, reasons = decide(arms, THRESHOLD, ["template"], Verdict())
    assert not reasons
    assert statuses(checks)[("base_replication", "held_out_template")] == "passed"


def test_an_edit_never_tried_on_unseen_prompts_is_refused():
    limits = Verdict.model_validate(
        {"held_out_replication": "unchecked", "template_replication": "unchecked", "base_replication": "unchecked"}
    )
    _, reasons = decide(measured(), THRESHOLD, KINDS, limits)
    assert reasons == ["the edit was not checked on any memorized prompt that locating had not seen"]


def test_the_recipe_takes_the_word_unchecked_and_no_other(tmp_path):
    text = 'name = "x"\n[model]\npath = "a"\n[prompts]\nmemorized = "m"\nordinary = "o"\njudged = "j"\n[verdict]\n'
    path = tmp_path / "recipe.toml"
    path.write_text(text + 'drift = "unchecked"\nagreement_drop = "unchecked"\n')
    limits = load_recipe(path).verdict
    assert limits.drift is None and limits.agreement_drop is None and limits.held_out_replication == 0.10
    path.write_text(text + 'drift = "none"\n')
    with pytest.raises(ExciseError, match=r"verdict\.drift"):
        load_recipe(path)
