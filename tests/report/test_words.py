from __future__ import annotations

from typing import Any

import pytest

from excise.prompts.questions import question
from excise.recipe import Attack, Audit, Edit, Embedding, Locate, ProjectEdit, Verdict
from excise.report import words
from excise.verdict.models import Check
from tests.verdict.examples import example_verdict, models, result

N, M = words.NBSP, words.MINUS
SECTIONS = {"locate": Locate, "edit": Edit, "attack": Attack, "verdict": Verdict}


def check(name: str) -> Check:
    return next(check for check in example_verdict().checks if check.name == name)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0694, f"6.9{N}%"), (1.0, f"100.0{N}%"), (0.0, f"0.0{N}%"), (-0.025, f"{M}2.5{N}%"), (None, "–")],
)
def test_percent(value: float | None, text: str) -> None:
    assert words.percent(value) == text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((0.05, 0.276), f"5.0–27.6{N}%"),
        ((0.0, 0.0), f"0.0–0.0{N}%"),
        ((-0.02, 0.04), f"{M}2.0{N}to{N}4.0{N}%"),  # a dash between numbers of which one has a sign misleads
        ((-0.04, -0.02), f"{M}4.0{N}to{N}{M}2.0{N}%"),
        (None, ""),
    ],
)
def test_percent_range(interval: tuple[float, float] | None, text: str) -> None:
    assert words.percent_range(interval) == text


def judged(name: str, **values: Any) -> Check:
    """A check of the example that is passed, with other values."""
    return check(name).model_copy(update={"status": "passed", "clear": True, "cases": 18, **values})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (judged("held_out_replication"), "passed"),
        (judged("held_out_replication", cases=3), "passed"),
        (judged("held_out_replication", cases=2), "passed, but on 2 images: says little"),
        (judged("template_replication", set="held_out_template", cases=1), "passed, but on 1 template: says little"),
        (judged("false_positives", cases=1), "passed, but on 1 image: says little"),
        (judged("agreement_drop", cases=2), "passed, but on 2 prompts: says little"),
        (
            judged("held_out_replication", clear=False, interval=(0.0, 0.276)),
            f"passed, but up to 27.6{N}% is possible",
        ),
        (
            judged("base_replication", clear=False, interval=(0.207, 1.0)),
            f"passed, but as little as 20.7{N}% is possible",
        ),
        (judged("drift", clear=False, interval=(0.3, 0.6)), "passed, but up to 0.600 is possible"),
        (judged("drift", cases=None, clear=None, interval=None), "passed"),
        (judged("held_out_replication", status="failed", cases=1, clear=False), "failed"),
        (judged("held_out_replication", status="not required", cases=1), "not required"),
    ],
)
def test_what_is_passed_on_little_evidence_says_so(found: Check, said: str) -> None:
    assert words.standing(found) == said
    assert words.standing_class(found) == ("doubtful" if "but" in said else said.replace("not required", "none"))
    assert bool(words.doubt([found])) is ("but" in said)


def test_an_acceptance_counts_what_it_passed_on_little_evidence() -> None:
    verdict = example_verdict()
    assert words.acceptance(verdict) == "every check that the recipe requires was passed"
    checks = tuple(check.model_copy(update={"cases": 2 if i < 3 else 9}) for i, check in enumerate(verdict.checks))
    doubtful = words.acceptance(verdict.model_copy(update={"checks": checks}))
    assert doubtful.endswith("was passed, 3 of them on evidence that leaves the contrary possible")


@pytest.mark.parametrize(
    ("key", "prompts", "clusters", "said"),
    [
        ("held_out_template", 4, 1, "4 prompts of 1 template"),
        ("located_template", 8, 2, "8 prompts of 2 templates"),
        ("held_out_verbatim", 8, 6, "8 prompts of 6 images"),
        ("held_out_verbatim", 18, 18, "18 prompts"),
        ("never_seen", 1, 1, "1 prompt"),
    ],
)
def test_prompts_and_the_cases_they_are(key: str, prompts: int, clusters: int, said: str) -> None:
    found = result("base", 0.5).sets["held_out_verbatim"].model_copy(update={"prompts": prompts, "clusters": clusters})
    assert words.asked_of(question(key), found) == said


def test_numbers() -> None:
    assert words.number(0.12345) == "0.123" and words.number(2) == "2.000" and words.number(None) == "–"
    assert words.number_range((0.1, 0.25)) == "0.100 to 0.250" and words.number_range(None) == ""


def test_quantities_of_a_check_are_in_its_own_unit() -> None:
    rate, drift = check("held_out_replication"), check("drift")
    assert words.quantity(rate, 0.02) == f"2.0{N}%" and words.quantity(drift, 0.02) == "0.020"
    assert words.quantity(rate, None) == words.quantity(drift, None) == "–"
    assert words.quantity_range(rate, (0.0, 0.07)) == f"0.0–7.0{N}%"
    assert words.quantity_range(drift, (0.0, 0.07)) == "0.000 to 0.070"
    assert words.quantity_range(rate, None) == words.quantity_range(drift, None) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, f"0.0{N}s"), (119.9, f"119.9{N}s"), (120.0, f"2.0{N}min"), (5400.0, f"90.0{N}min")]
)
def test_seconds(value: float, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("down_blocks.0.attentions.1.transformer_blocks.0.ff.net.2", "down 0.1"),
        ("up_blocks.3.attentions.2.transformer_blocks.4.ff.net.2", "up 3.2 (4)"),
        ("mid_block.attentions.0.transformer_blocks.0.ff.net.2", "mid 0"),
        ("transformer_blocks.11.ff.net.2", "transformer_blocks.11.ff.net.2"),
        ("down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_v",) * 2,
        ("x.down_blocks.0.attentions.1.transformer_blocks.0.ff.net.2",) * 2,
    ],
)
def test_site_names(name: str, short: str) -> None:
    assert words.site_name(name) == short


def test_settings_are_text_in_the_order_of_the_recipe() -> None:
    settings: dict[str, Any] = {
        "name": "mine",
        "model": {"path": "/m", "twin": None},
        "locate": {"sparsity": 0.01, "calls": 10, "evidence": False, "false_discovery": None},
        "verdict": {"drift": None, "base_replication": 0.5},
    }
    assert words.settings_rows(settings) == [
        ("", [("name", "mine")]),
        ("model", [("path", "/m"), ("twin", "not given")]),
        ("locate", [("sparsity", "0.01"), ("calls", "10"), ("evidence", "False"), ("false_discovery", "not given")]),
        ("verdict", [("drift", "unchecked"), ("base_replication", "0.5")]),
    ]


def test_no_setting_of_a_recipe_is_left_out() -> None:
    audit = Audit().model_dump(mode="json")
    chosen = {
        "edit": {"method": "project", "then": ["unlearn"]},
        "attack": {"methods": ["replay", "embedding"], "audit": audit},
    }
    settings = {
        "name": "x",
        **{key: kind().model_dump(mode="json") | chosen.get(key, {}) for key, kind in SECTIONS.items()},
    }
    rows = dict(words.settings_rows(settings))
    inner = {"edit": set(Edit.model_fields) - {"method", "then"}, "attack": set(Attack.model_fields) - {"methods"}}
    for key, kind in SECTIONS.items():
        assert [name for name, _ in rows[key]] == [name for name in kind.model_fields if name not in inner.get(key, ())]
    assert [name for name, _ in rows["edit.project"]] == list(ProjectEdit.model_fields)
    assert [name for name, _ in rows["attack.embedding"]] == list(Embedding.model_fields)
    assert [name for name, _ in rows["attack.audit"]] == list(Audit.model_fields)
    assert rows.keys() - {""} == {*SECTIONS, "edit.project", "edit.unlearn", "attack.embedding", "attack.audit"}
    assert all(text and "None" not in text for section in rows.values() for _, text in section)


def test_a_range_is_not_broken_after_its_dash() -> None:
    assert words.unbroken("93–100 %, 0–7") == f"93{words.JOIN}–{words.JOIN}100 %, 0{words.JOIN}–{words.JOIN}7"
    assert words.unbroken("held-out") == "held-out"


def test_questions_are_shown_that_the_base_was_asked_what_was_not_used_first() -> None:
    verdict = example_verdict()
    keys = ["held_out_verbatim", "held_out_template", "located_verbatim", "located_template"]
    assert [asked.key for asked in words.shown(verdict)] == keys
    base = verdict.base.model_copy(update={"sets": {"never_seen": result("base", 0.0).sets[keys[0]]}})
    assert words.shown(verdict.model_copy(update={"models": verdict.models | {"base": base}})) == [
        question("never_seen")
    ]


def test_the_headline_has_every_rate_with_interval_and_controls() -> None:
    verbatim, template, ordinary = words.headline(example_verdict(controls=2))
    assert verbatim == (
        "On 8 prompts for 6 memorized images that locating never saw, the base replicates the training image in "
        f"98.0{N}% (93.0–100.0{N}%) of its images, the edited model in 2.0{N}% (0.0–7.0{N}%). Controls: "
        f"twin: 0.0{N}% (0.0–5.0{N}%); random edit 1: 97.0{N}% (92.0–100.0{N}%); "
        f"random edit 2: 97.0{N}% (92.0–100.0{N}%)."
    )
    assert template == verbatim.replace("memorized images", "memorized templates")
    assert ordinary == (
        f"On ordinary prompts the image agrees with its caption in 95.0{N}% (93.0–97.0{N}%) of images of the base and "
        f"95.0{N}% (93.0–97.0{N}%) of the edited model."
    )


def test_the_headline_says_what_there_is() -> None:
    verdict = example_verdict()
    found = {name: models()[name].model_copy(update={"agreement": None}) for name in ("base", "edited")}
    found = {
        name: model.model_copy(update={"sets": {"held_out_verbatim": model.sets["held_out_verbatim"]}})
        for name, model in found.items()
    }
    verbatim, ordinary = words.headline(verdict.model_copy(update={"models": found}))
    assert verbatim.endswith(f"the edited model in 2.0{N}% (0.0–7.0{N}%).") and "Controls" not in verbatim
    assert ordinary == "Caption agreement on ordinary prompts was not measured."


def test_self_targets_are_called_so_before_any_rate() -> None:
    verdict = example_verdict()
    assert not any("self-target" in sentence for sentence in words.headline(verdict))
    own = verdict.model_copy(update={"evidence": verdict.evidence.model_copy(update={"self_targets": 3})})
    first, *rest = words.headline(own)
    assert first.startswith("3 of the memorized prompts") and "no training images" in first
    assert rest == words.headline(verdict)
