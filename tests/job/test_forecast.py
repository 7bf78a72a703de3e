"""Time left: from measured paces alone, and 'at least' while a stage that is left was never measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.job.estimate import estimate
from excise.job.forecast import Forecast, duration, forecast_of, work_of
from excise.job.runner import run_job
from excise.recipe import Recipe
from excise.run.job_record import JobRecord, load_record
from excise.run.layout import Run
from tests.jobs import context_of

CALLS = {"collect": 100.0, "attack": 1000.0}


def test_nothing_measured_is_nothing_said() -> None:
    assert Forecast(CALLS).left(["collect", "rank", "attack"], None) is None


def test_a_stage_that_calls_the_denoiser_takes_its_calls_at_the_measured_pace() -> None:
    forecast = Forecast(CALLS)
    forecast.measured("collect", 0.5, 25.0)  # 50 calls
    assert forecast.takes("collect") == 50.0 and forecast.takes("attack") == 500.0
    left = forecast.left(["attack"], 25.0)
    assert left is not None and (left.seconds, left.whole, str(left)) == (525.0, True, "about 9 min left")


def test_a_stage_that_was_never_measured_makes_it_at_least() -> None:
    forecast = Forecast(CALLS, pace=0.1)
    assert str(forecast.left(["validate"], 30.0)) == "at least 30 s left"
    assert str(forecast.left(["attack"], None)) == "at least 100 s left"
    forecast.before = {"validate": 60.0}
    assert str(forecast.left(["validate"], 30.0)) == "about 90 s left"


def test_its_own_pace_replaces_that_of_the_stage_before() -> None:
    forecast = Forecast(CALLS, pace=0.1)
    forecast.measured("attack", 0.1, 100.0)
    assert forecast.takes("attack") == 1000.0
    forecast.measured("validate", 1.0, 5.0)  # makes no calls: no pace of the denoiser
    assert forecast.takes("attack") == 1000.0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (119.4, "119 s"), (119.6, "2 min"), (3599, "60 min"), (7199, "2 h 00 min"), (11100, "3 h 05 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_what_the_folder_tells_of_earlier_starts(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run_job(tiny_recipe, tmp_path, "rank", say=lambda _: None)
    context = context_of(tiny_recipe, tmp_path)
    found, record = estimate(context), load_record(Run(tmp_path))
    forecast = forecast_of(context, found, record)
    assert forecast.pace is not None and 0 < forecast.pace * found.collect_calls <= record.stages["collect"].seconds
    assert forecast.takes("attack") == pytest.approx(forecast.pace * found.attack_calls)
    assert forecast.takes("rank") == record.stages["rank"].seconds and forecast.takes("locate") is None
    assert forecast_of(context, found, JobRecord()).pace is None


def test_device_dtype_batch_and_calls_are_said(tiny_recipe: Recipe, tmp_path: Path) -> None:
    context = context_of(tiny_recipe, tmp_path)
    found = estimate(context)
    assert work_of(context, found) == (
        "device cpu (1 threads), float32, batches of at most 8, 1 process; denoiser calls: "
        f"{found.collect_calls:,} to collect, {found.attack_calls:,} to attack"
    )
