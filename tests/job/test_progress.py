"""What a job says: where it is of how many stages, the time left of all of it, and all of that in its log too."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.job.forecast import Forecast
from excise.job.names import NAMES
from excise.job.progress import JobProgress
from excise.recipe import Recipe
from tests.jobs import excise, refused, write_recipe

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "


class Clock:
    """Seconds that go by when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def working(lines: list[str]) -> tuple[JobProgress, Clock]:
    """A job of four stages that has come to its first."""
    clock = Clock()
    progress = JobProgress(lines.append, ("collect", "rank", "attack", "validate"), clock)
    progress.forecast = Forecast({"collect": 100.0, "attack": 1000.0})
    progress.enter("collect", " …")
    return progress, clock


def test_lines_within_a_stage_come_now_and_then_and_say_what_is_left_of_the_job() -> None:
    lines: list[str] = []
    progress, clock = working(lines)
    with progress.counting("prompt", 50) as bar:
        for _ in range(10):
            clock.now += 6.0
            bar.update(5)
    assert lines == [
        "stage 1 of 4, collect …",
        "stage 1 of 4, collect: 20 of 50 prompts; at least 11 min left",  # 36 s here, 600 s to attack, rank unknown
        "stage 1 of 4, collect: 40 of 50 prompts; at least 10 min left",
    ]
    progress.end("60.0 s")
    assert lines[-1] == "stage 1 of 4, collect: 60.0 s; at least 10 min left"


def test_work_that_an_earlier_start_did_is_not_counted_as_pace() -> None:
    lines: list[str] = []
    progress, clock = working(lines)
    progress.coming = []
    with progress.counting("prompt", 100, 90) as bar:
        bar.set_postfix_str("twin")
        clock.now += 20.0
        bar.update(5)
    assert lines[-1] == "stage 1 of 4, collect: 95 of 100 prompts (twin); about 20 s left"


def test_a_stage_that_is_there_already_is_not_waited_for() -> None:
    lines: list[str] = []
    progress, _ = working(lines)
    progress.forecast.pace = 1.0
    progress.coming = ["attack"]
    progress.end("3.0 s")
    assert lines[-1].endswith("; about 17 min left")
    progress.enter("attack", " …")
    progress.end("3.0 s")
    assert lines[-1] == "stage 3 of 4, attack: 3.0 s"


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (ExciseError("model.path: is not there"), "stopped: model.path: is not there"),
        (KeyboardInterrupt(), "interrupted"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_the_log_has_every_line_with_its_time_warnings_and_why_the_job_ended(
    tmp_path: Path, error: BaseException, logged: str
) -> None:
    lines: list[str] = []
    (tmp_path / "job.log").write_text("of an earlier start\n")
    progress, _ = working(lines)  # before there is a log
    with pytest.raises(type(error)), progress.kept(tmp_path / "job.log"):
        logging.getLogger("excise.diffusion.denoise").warning("going on with %d", 8)
        raise error
    first, *rest = (tmp_path / "job.log").read_text().splitlines()
    assert first == "of an earlier start" and all(re.match(STAMP, line) for line in rest)
    assert [line[20:] for line in rest[:2]] == ["stage 1 of 4, collect …", "going on with 8"] == lines
    assert rest[-1].endswith(logged)


@pytest.fixture
def recipe(tiny_recipe: Recipe, tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "tiny.toml", tiny_recipe)


def start(recipe: Path, out: Path, **streams: object) -> subprocess.Popen[str]:
    """Collect, in a process of its own."""
    command = [sys.executable, "-m", "excise", "run", str(recipe), "--out", str(out), "--until", "collect"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, text=True, env=environment, **streams)  # type: ignore[call-overload,no-any-return]


@pytest.mark.e2e
def test_without_a_terminal_there_are_lines_with_their_time_and_nothing_else(recipe: Path, tmp_path: Path) -> None:
    process = start(recipe, tmp_path / "out", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    printed, errors = process.communicate()
    assert process.returncode == 0 and errors == "" and "\r" not in printed
    lines = printed.splitlines()
    assert all(re.match(STAMP, line) for line in lines)
    said = [line[20:] for line in lines]
    assert any(line.startswith("device cpu (1 threads), float32, batches of at most 8, ") for line in said)
    assert said[-2] == "stage 1 of 1, collect …" and said[-1].startswith("stage 1 of 1, collect: ")
    log = (tmp_path / "out" / "job.log").read_text().splitlines()
    assert [line[20:] for line in log] == said


@pytest.mark.e2e
def test_on_a_terminal_there_is_a_bar_and_the_log_has_no_part_of_it(recipe: Path, tmp_path: Path) -> None:
    seen, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    process = start(recipe, tmp_path / "out", stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while part := _read(seen):
        shown += part
    assert process.wait() == 0
    text = shown.decode()
    assert re.search(r"\rstage 1 of 1, collect: +\d+%.* prompts, about \d+ s left", text)
    assert not re.search(STAMP, text)
    log = (tmp_path / "out" / "job.log").read_text()
    assert "stage 1 of 1, collect …" in log and "%" not in log and "\r" not in log


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return b""


@pytest.mark.e2e
def test_the_log_goes_on_over_starts_and_ends_with_the_result(
    recipe: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert excise("run", recipe, "--out", out, "--until", "rank").exit_code == 0
    broken = write_recipe(tmp_path / "broken.toml", tiny_recipe, {"locate.margin": 1e9})
    assert refused(excise("run", broken, "--out", out), "these settings select nothing")
    assert excise("run", recipe, "--out", out).exit_code == 3
    log = (out / "job.log").read_text()
    assert log.count(" runs ") == 3 and "stopped: locate: these settings select nothing" in log
    assert all(f"stage {number} of 7, {name} …" in log for number, name in enumerate(NAMES[2:], start=3))
    assert "MR held-out verbatim" in log and log.count("VERDICT: refused") == 1
    assert all(re.match(STAMP, line) for line in log.splitlines())
    steps = [line for line in log.splitlines() if re.search(r"stage 4 of 7, edit: .* peak memory", line)]
    assert len(steps) == 1 and re.search(r"; at least \d+ s left$", steps[0]), (
        "attack at the pace of collect, validate never measured"
    )
