"""--json: one document on standard output and nothing else, with the same exit codes; all else on standard error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from excise.job.names import NAMES
from excise.recipe import Recipe
from excise.run.results import read_verdict
from excise.verdict.models import Verdict
from tests.jobs import excise, write_recipe
from tests.trial.tried import Tried, try_out


@pytest.fixture(scope="module")
def tried(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    return try_out(tiny_recipe, tmp_path_factory)


def document(*arguments: object, code: int) -> dict[str, Any]:
    """What a command prints, which is one document; ``code`` is what it ends with."""
    result = excise(*arguments, "--json")
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.e2e
def test_run_up_to_a_stage(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """In a process of its own: what the libraries print would be seen too."""
    recipe, out = write_recipe(tmp_path / "tiny.toml", tiny_recipe), tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "excise", "run", recipe, "--out", out, "--until", "rank", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found["stages"]) == ["collect", "rank"] and found["stages"]["collect"]["seconds"] > 0
    assert (found["accepted"], found["verdict"], found["release"]) == (None, None, None)
    assert found["paths"] == {"log": str(out / "job.log")}
    assert "stage 1 of 2, collect …" in done.stderr


def test_a_whole_run_and_show(tried: Tried, tmp_path: Path) -> None:
    found = document("show", tried.run.folder, code=3)
    assert list(found["stages"]) == list(NAMES) and found["accepted"] is False and found["release"] is None
    assert Verdict.model_validate_json(json.dumps(found["verdict"])) == read_verdict(tried.run)
    assert set(found["paths"]) == {"log", "edited", "verdict", "report", "summary"}
    assert all(Path(path).exists() for path in found["paths"].values())
    again = write_recipe(tmp_path / "again.toml", tried.recipe)
    assert document("run", again, "--out", tried.run.folder, code=3) == found


def test_plan(tiny_recipe: Recipe, tmp_path: Path) -> None:
    found = document("plan", write_recipe(tmp_path / "tiny.toml", tiny_recipe), "--out", tmp_path / "x", code=0)
    assert found["fits"] is True and found["faults"] == [] and found["run"] == str(tmp_path / "x")
    assert found["estimate"]["sites"] == 7 and found["estimate"]["attack_calls"] > 0
    assert found["device"] == "cpu" and found["disk_free"] > found["estimate"]["disk"]


def test_diff(tried: Tried) -> None:
    base, edited = tried.recipe.model.path, tried.run.edited
    found = document("diff", base, edited, code=0)
    assert found["as_planned"] is True and found["record"] == str(tried.run.edit_record)
    assert len(found["differences"]) == 7 and all(one["changed"] > 0 for one in found["differences"])
    found = document("diff", base, edited, "--plan", tried.run.edit_record, code=0)
    assert found["faults"] == []
    found = document("diff", edited, base, "--plan", tried.run.edit_record, code=1)
    assert found["as_planned"] is False and found["faults"]


def test_verify(released: Path) -> None:
    found = document("verify", released / "run" / "release", code=0)
    assert found["right"] is True and [one["what"] for one in found["findings"]][:2] == ["record", "files"]
    assert {"what", "faults", "note", "skipped"} <= set(found["findings"][0])
    found = document("verify", released / "run" / "release", "--base", released / "run", code=1)
    assert found["right"] is False and any(one["faults"] for one in found["findings"])


@pytest.mark.parametrize("command", [("run", "none.toml"), ("plan", "none.toml"), ("show", "nowhere")])
def test_an_error_is_a_document_too(command: tuple[str, ...], tmp_path: Path) -> None:
    result = excise(command[0], tmp_path / command[1], "--json")
    assert result.exit_code == 1
    assert result.stderr == f"excise: {json.loads(result.stdout)['error']}\n"


def test_wrong_usage_is_said_on_standard_error_alone() -> None:
    result = excise("run", "--json", "--until", "nowhere", "x.toml")
    assert result.exit_code == 2 and result.stdout == "" and "nowhere" in result.stderr
