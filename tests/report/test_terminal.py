from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from excise.errors import ExciseError
from excise.report.terminal import checks_table, models_tables, show_run
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.results import write_model
from excise.verdict.models import Verdict
from tests.trial.tried import Tried
from tests.verdict.examples import example_verdict


def printed(*tables: RenderableType, width: int = 120) -> str:
    """What a terminal shows, without colours."""
    console = Console(width=width, record=True, file=io.StringIO())
    for table in tables:
        console.print(table)
    return console.export_text()


def row(text: str, label: str) -> str:
    """The one line that begins with a label."""
    (found,) = (line for line in text.splitlines() if line.strip().startswith(label))
    return " ".join(found.split())


def test_a_row_per_measure_with_every_models_value_and_interval() -> None:
    text = printed(*models_tables(example_verdict(), 120))
    assert max(map(len, text.splitlines())) <= 120
    assert row(text, "MR held-out verbatim") == ("MR held-out verbatim 98.0 [93–100] 2.0 [0–7] 0.0 [0–5] 97.0 [92–100]")
    for label in ("MR held-out template", "MR located verbatim", "MR located template"):
        assert "98.0 [93–100]" in row(text, label)
    assert row(text, "caption agreement, %") == "caption agreement, %" + " 95.0 [93–97]" * 4
    assert row(text, "drift from base") == "drift from base – 0.20 [0.18–0.22] 0.90 [0.88–0.92] 0.10 [0.08–0.12]"
    assert row(text, "weights changed") == "weights changed 0 1,234 – 1,234"
    header = next(line for line in text.splitlines() if "edited" in line and "twin" in line)
    assert header.split() == ["base", "edited", "twin", "random", "edit", "1"]
    places = [text.index(label) for label in ("held-out verbatim", "held-out template", "located verbatim")]
    assert places == sorted(places)


def test_every_control_has_its_column() -> None:
    text = printed(*models_tables(example_verdict(controls=3), 160), width=160)
    assert all(f"random edit {i}" in text for i in (1, 2, 3))
    assert row(text, "drift from base").count("[") == 5


def test_what_was_not_measured_is_a_dash() -> None:
    whole = example_verdict()
    models = {name: found.model_copy(update={"agreement": None, "drift": None}) for name, found in whole.models.items()}
    twin = models["twin"]
    kept = {key: value for key, value in twin.sets.items() if key != "located_template"}
    verdict = whole.model_copy(update={"models": models | {"twin": twin.model_copy(update={"sets": kept})}})
    text = printed(*models_tables(verdict, 120))
    assert row(text, "caption agreement, %") == "caption agreement, % – – – –"
    assert row(text, "drift from base") == "drift from base – – – –"
    assert row(text, "MR located template") == "MR located template 98.0 [93–100] 2.0 [0–7] – 97.0 [92–100]"


def test_without_an_interval_the_value_stands_alone() -> None:
    whole = example_verdict()
    drift = whole.edited.drift
    assert drift is not None
    edited = whole.edited.model_copy(update={"drift": drift.model_copy(update={"interval": None})})
    text = printed(*models_tables(whole.model_copy(update={"models": whole.models | {"edited": edited}}), 120))
    assert row(text, "drift from base").startswith("drift from base – 0.20 0.90 [")


@pytest.mark.parametrize("width", [120, 80])
def test_both_tables_keep_to_the_terminals_width_and_lose_no_number(width: int) -> None:
    verdict = example_verdict(edited=0.08)
    text = printed(*models_tables(verdict, width), checks_table(verdict.checks), width=width)
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    for value in ("98.0", "8.0", "97.0", "95.0", "0.20", "0.90", "1,234", "10.0", "1.0"):
        assert value in words, value
    assert "…" not in text
    assert words.count("passed") + words.count("passed,") == 9 and "required" in words


@pytest.mark.parametrize("controls", [0, 1, 3])
@pytest.mark.parametrize("width", [80, 60])
def test_no_table_breaks_a_word_or_an_interval(width: int, controls: int) -> None:
    verdict = example_verdict(edited=0.08, controls=controls)
    for table in (*models_tables(verdict, width), checks_table(verdict.checks)):
        text = printed(table, width=width)
        assert max(map(len, text.splitlines())) <= width and "…" not in text
        for column in table.columns:
            for cell in column.cells:
                assert set(str(cell).split()) <= set(text.split()), cell


def test_checks_say_value_limit_and_status() -> None:
    checks = example_verdict().checks
    (drift,) = (check for check in checks if check.name == "drift")
    text = printed(checks_table(checks))
    assert row(text, "replication of held-out verbatim prompts, base").endswith("98.0 % at least 50.0 % passed")
    assert row(text, "replication of held-out verbatim prompts, edited").endswith("2.0 % at most 10.0 % passed")
    assert row(text, "never-seen images that count").endswith("0.0 % at most 0.1 % passed")
    assert row(text, "drift of images for ordinary prompts").endswith(f"0.200 at most {drift.limit:.3f} passed")
    assert row(text, "loss of caption agreement on ordinary").endswith("1.0 % – not required")
    assert "passed, but" not in text


def test_what_is_passed_on_little_evidence_is_not_called_passed_alone() -> None:
    text = printed(checks_table(example_verdict(edited=0.08).checks))
    held_out = row(text, "replication of held-out verbatim prompts, edited")
    assert held_out.endswith("8.0 % at most 10.0 % passed, but up to 13.0 % is possible")
    assert row(text, "replication of held-out template prompts, edited").endswith("8.0 % at most 25.0 % passed")
    assert "“Passed, but”: there are fewer than 3 independent" in text
    checks = [check.model_copy(update={"cases": 1}) for check in example_verdict().checks]
    (template,) = (check for check in checks if check.set == "held_out_template")
    assert row(printed(checks_table((template,))), "replication of").endswith("passed, but on 1 template: says little")


def test_a_failed_check_is_failed_and_a_missing_one_a_dash() -> None:
    checks = example_verdict(edited=0.2).checks
    missing = checks[1].model_copy(update={"value": None, "interval": None, "status": "not measured", "passed": False})
    text = printed(checks_table((missing, *checks[2:])))
    assert row(text, "replication of held-out verbatim prompts, edited").endswith("20.0 % at most 10.0 % failed")
    assert row(text, "never-seen images that count").endswith("base – at most 0.1 % not measured")


def shown(run: Run, width: int = 120) -> tuple[bool, str]:
    console = Console(width=width, record=True, file=io.StringIO())
    return show_run(run, console), console.export_text()


def copied(tried: Tried, folder: Path) -> Run:
    """The files that a finished run is shown from."""
    for file in (tried.run.record, tried.run.verdict, tried.run.report, tried.run.summary):
        shutil.copy(file, folder)
    return Run(folder)


def test_a_refused_run_is_shown_with_its_reasons(tried: Tried) -> None:
    accepted, text = shown(tried.run)
    assert accepted is False and "VERDICT: refused, this edit is not fit for release" in text
    for reason in tried.verdict.reasons:
        assert f"  - {reason}\n" in text  # in one line, however narrow the terminal
    assert shown(tried.run, 60)[1].count("  - ") == len(tried.verdict.reasons)
    for label, path in (("report", tried.run.report), ("verdict", tried.run.verdict)):
        assert f"  {label:24}{path}\n" in text
    assert f"  {'edited model (refused)':24}{tried.run.edited}\n" in text


def test_an_accepted_run_is_shown(tried: Tried, tmp_path: Path) -> None:
    run = copied(tried, tmp_path)
    write_model(run.verdict, example_verdict())
    run.edited.mkdir()
    run.summary.unlink()
    accepted, text = shown(run)
    assert accepted is True and "VERDICT: accepted, every check that the recipe requires was passed\n" in text
    assert f"  {'edited model':24}{run.edited}\n" in text and "summary" not in text and "refused" not in text


def test_a_run_without_validation_is_refused(tried: Tried, tmp_path: Path) -> None:
    words = "holds no finished validation; excise run ends with one"
    with pytest.raises(ExciseError, match=words):
        show_run(Run(tmp_path / "nowhere"), Console(file=io.StringIO()))
    run = copied(tried, tmp_path)
    assert shown(run)[0] is False
    record = load_record(run)
    del record.stages["validate"]  # the run has begun again: the verdict on disk is not of what lies beside it
    record.save(run)
    with pytest.raises(ExciseError, match=words):
        shown(run)
    run = copied(tried, tmp_path)
    run.verdict.unlink()
    with pytest.raises(ExciseError, match=words):
        shown(run)


def test_an_altered_verdict_is_refused(tried: Tried, tmp_path: Path) -> None:
    run = copied(tried, tmp_path)
    text = run.verdict.read_text(encoding="utf-8")
    run.verdict.write_text(text.replace('"accepted": false', '"accepted": 0'), encoding="utf-8")
    with pytest.raises(ExciseError, match=r"verdict\.json: accepted: "):
        shown(run)
    assert Verdict.model_validate_json(text) == tried.verdict
