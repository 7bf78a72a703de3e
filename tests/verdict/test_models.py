"""verdict.json and measures.json: what is written is read again, and what cannot be so is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from excise.errors import ExciseError
from excise.run.layout import Run
from excise.run.results import read_measures, read_verdict, write_model
from excise.verdict.measured import Measures, ModelMeasures
from excise.verdict.models import Verdict
from tests.verdict.examples import example_measures, example_verdict


@pytest.mark.parametrize("made", [example_verdict(), example_measures()], ids=["verdict", "measures"])
def test_what_is_written_is_read_again(made: Verdict | Measures, tmp_path: Path) -> None:
    run = Run(tmp_path)
    file = run.verdict if isinstance(made, Verdict) else run.measures
    write_model(file, made)
    assert (read_verdict(run) if isinstance(made, Verdict) else read_measures(run)) == made
    assert type(made).model_validate_json(made.model_dump_json()) == made
    before = file.read_bytes()
    write_model(file, made)
    assert file.read_bytes() == before


def test_the_order_of_models_and_questions_is_kept(tmp_path: Path) -> None:
    run, made = Run(tmp_path), example_verdict(controls=2)
    write_model(run.verdict, made)
    found = read_verdict(run)
    assert list(found.models) == ["base", "edited", "twin", "random-1", "random-2"]
    assert list(found.base.sets) == list(made.base.sets)
    assert found.base is found.models["base"] and found.edited is found.models["edited"]
    assert list(found.controls) == ["twin", "random-1", "random-2"]


def at(found: Any, *path: str | int) -> Any:
    for key in path:
        found = found[key]
    return found


EDITED = ("models", "edited")
RATES = (*EDITED, "sets", "held_out_verbatim")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*RATES, "memorization_rate"), 1.01),
        ((*RATES, "memorization_rate"), -0.01),
        ((*RATES, "memorization_rate"), None),
        ((*RATES, "images_ever_replicated"), 2.0),
        ((*RATES, "interval"), [0.2, 1.2]),
        ((*RATES, "interval"), [-0.1, 0.2]),
        ((*RATES, "interval"), [0.2]),
        ((*RATES, "interval"), [0.1, 0.2, 0.3]),
        ((*RATES, "prompts"), -1),
        ((*RATES, "prompts"), 1.5),
        ((*RATES, "prompts"), True),
        ((*RATES, "prompts"), "8"),
        ((*EDITED, "agreement", "rate"), 1.5),
        ((*EDITED, "agreement", "interval"), [0.5, 1.5]),
        ((*EDITED, "colour"), "blue"),
        ((*EDITED, "colour"), "#1f6fb2\n"),
        ((*EDITED, "weights_changed"), -5),
        ((*EDITED, "label"), 3),
        (("threshold", "never_seen", "false_positive_rate"), 1.1),
        (("threshold", "never_seen", "own_rate"), -0.1),
        (("threshold", "value"), "0.15"),
        (("checks", 0, "status"), "waved through"),
        (("checks", 0, "relation"), "about"),
        (("checks", 0, "passed"), 1),
        (("accepted",), "yes"),
        (("format",), 1),
        (("images",), ["a"]),
        (("evidence", "located"), None),
    ],
)
def test_what_cannot_be_is_refused(path: tuple[str | int, ...], value: object) -> None:
    found = json.loads(example_verdict().model_dump_json())
    at(found, *path[:-1])[path[-1]] = value
    with pytest.raises(ValidationError) as error:
        Verdict.model_validate_json(json.dumps(found))
    assert error.value.errors()[0]["loc"][: len(path)] == path


@pytest.mark.parametrize(
    "path",
    [(), EDITED, RATES, (*EDITED, "agreement"), (*EDITED, "drift"), ("threshold",), ("checks", 0), ("evidence",)],
)
def test_an_unknown_field_and_a_missing_one_are_refused(path: tuple[str | int, ...]) -> None:
    found = json.loads(example_verdict().model_dump_json())
    at(found, *path)["surprise"] = 1
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Verdict.model_validate_json(json.dumps(found))
    del at(found, *path)["surprise"]
    Verdict.model_validate_json(json.dumps(found))
    del at(found, *path)[next(key for key in at(found, *path) if key != "format")]
    with pytest.raises(ValidationError, match="Field required"):
        Verdict.model_validate_json(json.dumps(found))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "path",
    [
        (*RATES, "memorization_rate"),
        (*RATES, "median_distance"),
        (*EDITED, "drift", "value"),
        (*EDITED, "drift", "interval", 0),
        ("checks", 0, "limit"),
        ("seconds", "base"),
    ],
)
def test_what_is_no_number_is_refused_in_python_and_in_a_file(path: tuple[str | int, ...], number: float) -> None:
    whole = example_verdict().model_dump(mode="json")
    at(whole, *path[:-1])[path[-1]] = number
    with pytest.raises(ValidationError):
        Verdict.model_validate_json(json.dumps(whole))  # NaN, Infinity: what Python writes, though JSON has none
    whole = example_verdict().model_dump()
    parent: Any = at(whole, *path[:-1])
    if isinstance(parent, tuple):
        at(whole, *path[:-2])[path[-2]] = (number, 1.0)
    else:
        parent[path[-1]] = number
    with pytest.raises(ValidationError):
        Verdict.model_validate(whole)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["models"]["base"]["sets"]["held_out_verbatim"]["distance"][0].append(float("nan")),
        lambda found: found["models"]["base"]["agrees"][0].append(1),
        lambda found: found["models"]["base"].update(more=1),
        lambda found: found["sets"]["judged"]["prompts"][0].update(image="a.png"),
        lambda found: found["sets"]["judged"].update(seeds=[0.5]),
        lambda found: found.pop("sets"),
    ],
)
def test_measures_that_cannot_be_are_refused(change: Callable[[Any], None]) -> None:
    found = json.loads(example_measures().model_dump_json())
    change(found)
    with pytest.raises(ValidationError):
        Measures.model_validate_json(json.dumps(found))


def test_a_verdict_is_not_changed_once_it_is_made() -> None:
    made = example_verdict()
    with pytest.raises(ValidationError, match="frozen"):
        made.accepted = True
    with pytest.raises(ValidationError, match="frozen"):
        ModelMeasures(sets={}, agrees=None, neighbours_agree=None).agrees = ()


def test_files_that_hold_no_verdict_are_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(ExciseError, match=r"verdict\.json: cannot be read \(No such file.*run excise run again"):
        read_verdict(run)
    found = json.loads(example_verdict().model_dump_json())
    found["models"]["edited"]["sets"]["held_out_verbatim"]["memorization_rate"] = 7.0
    run.verdict.write_text(json.dumps(found))
    where = r"verdict\.json: models\.edited\.sets\.held_out_verbatim\.memorization_rate: "
    with pytest.raises(ExciseError, match=where + r".*altered, or of another version"):
        read_verdict(run)
    run.verdict.write_bytes(b"{")
    with pytest.raises(ExciseError, match=r"verdict\.json: "):
        read_verdict(run)


def test_checks_tell_what_they_are() -> None:
    checks = {check.name: check for check in example_verdict().checks}
    assert not checks["drift"].is_rate and checks["held_out_replication"].is_rate
    assert [check.name for check in example_verdict().waived] == ["agreement_drop"]
    reworded = checks["drift"].model_copy(update={"question": "another", "note": "said otherwise", "controls": {}})
    assert reworded.judged == checks["drift"].judged
    assert checks["drift"].model_copy(update={"limit": 0.6}).judged != checks["drift"].judged
