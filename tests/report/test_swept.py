"""A sweep's table says where each setting stands, and its picture shows every one of them."""

from __future__ import annotations

import csv
import io
import re

import pytest
from rich.console import Console

from excise.recipe import Verdict as Limits
from excise.report.swept import as_csv, front_figure, rows_of, sweep_table
from excise.run.swept import Swept, SweptSetting
from excise.verdict.front import Standing, standings
from excise.verdict.models import ModelResult, Usefulness
from tests.verdict.examples import SETS, THRESHOLD, agreed, estimated, replicated, result

KINDS = ("template", "verbatim")


def setting(name: str, found: ModelResult | None, control: bool = False, refused: str | None = None) -> SweptSetting:
    method = name.split()[0]
    return SweptSetting(
        name=name,
        sites="ffn",
        method=method,
        control=control,
        settings={},
        result=found,
        refused=refused,
        seconds=12.34,
    )


def edit(back: float, drift: float) -> ModelResult:
    beside = Usefulness(agreement=agreed(0.9, 0.0), drift=estimated(drift / 2))
    return result("edited", back, 0.0, drift).model_copy(update={"neighbours": beside})


SWEPT = Swept(
    basis="0" * 64,
    kinds=KINDS,
    threshold=THRESHOLD,
    base=result("base", 0.98, changed=None),
    settings=(
        setting("zero k=0.3", edit(0.5, 0.8)),
        setting("zero everything", edit(0.0, 1.9), control=True),
        setting("project λ>30", edit(0.05, 0.4)),
        setting("compensate β=1", edit(0.02, 1.2)),
        setting("project λ>1000", None, refused="edit.project: no direction"),
    ),
)


@pytest.fixture
def found() -> list[Standing]:
    results = {one.name: one.result for one in SWEPT.settings if one.result is not None}
    return standings(SWEPT.base, results, {"zero everything"}, THRESHOLD, KINDS, Limits())


def test_rows_come_by_standing_and_say_what_is_exceeded(found: list[Standing]) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(list(rows_of(SWEPT, found, "project λ>30"))))))
    names = ["base", "project λ>30", "compensate β=1", "zero k=0.3", "zero everything", "project λ>1000"]
    assert [row["setting"] for row in rows] == names
    assert [row["number"] for row in rows] == ["0", "1", "2", "3", "4", ""]
    assert [row["chosen"] for row in rows[1:5]] == ["1", "0", "0", "0"]
    assert [row["front"] for row in rows[1:5]] == ["1", "1", "0", "0"]
    assert [row["within_limits"] for row in rows[1:5]] == ["1", "0", "0", "0"]
    assert (rows[2]["exceeds"], rows[5]["exceeds"]) == ("drift", "edit.project: no direction")
    assert "held_out_replication (left_out_verbatim)" in rows[3]["exceeds"]
    numbers = ("back", "damage", "located_verbatim", "left_out_template", "drift", "neighbour_drift", "agreement")
    assert [rows[1][key] for key in numbers] == ["0.05", "0.4", "0.05", "0.05", "0.4", "0.2", "0.95"]
    assert rows[1]["search"] == "" and rows[0]["damage"] == "0.0" and rows[5]["back"] == ""


def test_what_a_search_brought_back_is_what_counts(found: list[Standing]) -> None:
    searched = {"embedding/caption/50": {SETS[0]: replicated(0.7)}}
    one = SWEPT.settings[2].model_copy(
        update={"result": edit(0.05, 0.4).model_copy(update={"other_attacks": searched})}
    )
    base = SWEPT.base.model_copy(update={"other_attacks": searched})
    swept = SWEPT.model_copy(update={"settings": (one,), "base": base})
    (standing,) = standings(base, {one.name: one.result}, (), THRESHOLD, KINDS, Limits())  # type: ignore[dict-item]
    _, row = rows_of(swept, [standing], None)
    assert (row["back"], row["search"], row["located_verbatim"]) == (0.7, 0.7, 0.05)
    assert "come back under search" in front_figure(swept, [standing], None).decode()


def test_the_table_fits_a_terminal_and_marks_what_is_chosen(found: list[Standing]) -> None:
    console = Console(width=120, file=io.StringIO(), force_terminal=False)
    console.print(sweep_table(list(rows_of(SWEPT, found, "project λ>30"))))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"1 ▶◆✓ +project λ>30 +5 +0\.40 +5/5 +5/5", text)
    assert re.search(r"2 ◆ +compensate β=1", text) and re.search(r"\n +project λ>1000 +– +– +–/–", text)


def test_the_picture_has_every_setting_and_the_same_bytes_each_time(found: list[Standing]) -> None:
    picture = front_figure(SWEPT, found, "project λ>30")
    assert picture == front_figure(SWEPT, found, "project λ>30")
    text = picture.decode()
    assert {f'id="setting-{number}"' in text for number in range(1, 5)} == {True} and 'id="setting-5"' not in text
    assert "1 chosen" in text and "zero (control)" in text and "under replay" in text and 'id="front"' in text
