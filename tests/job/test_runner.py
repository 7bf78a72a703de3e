"""The whole job on a tiny checkpoint: what it leaves, what it recomputes, and how it takes kills and damage."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline

from excise.files.hashing import hash_path
from excise.job.names import NAMES
from excise.job.sequence import STAGES
from excise.recipe import Recipe
from excise.run.job_record import JobRecord, load_record
from excise.run.layout import Run
from tests.jobs import excise, refused, write_recipe
from tests.processes import Ended, command, start

pytestmark = pytest.mark.e2e

OUTPUTS = {stage.name: stage.outputs for stage in STAGES}


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe") / "tiny.toml", tiny_recipe)


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run's folder, never to be changed, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    result = excise("run", recipe, "--out", out)
    assert result.exit_code == 3, f"{result.output}\n{result.exception!r}"
    return out, result.stdout


@pytest.fixture
def folder(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def stamps(folder: Path) -> dict[str, int]:
    """When each stage's first output was written; nothing for one that is not there."""
    paths = {name: folder / outputs[0] for name, outputs in OUTPUTS.items()}
    return {name: path.stat().st_mtime_ns for name, path in paths.items() if path.exists()}


def sameness(record: JobRecord, name: str) -> dict[str, str]:
    """Hashes of the outputs of a stage that must be the same in every run: all but those that hold times."""
    return {output: value for output, value in record.stages[name].outputs.items() if output != "collect.json"}


def recomputed(before: dict[str, int], folder: Path) -> list[str]:
    after = stamps(folder)
    return [name for name in NAMES if name in after and after[name] != before.get(name)]


def test_run_leaves_every_output_and_a_record(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    record = load_record(Run(folder))
    assert list(record.stages) == list(NAMES)
    assert not record.unfinished
    for stage in STAGES:
        done = record.stages[stage.name]
        assert done.outputs == {name: hash_path(folder / name) for name in stage.outputs}
        assert done.seconds > 0 and done.peak_mib > 0
    assert not list(folder.glob("partial/*"))
    assert not list(folder.rglob("*.tmp"))


def test_edited_checkpoint_loads_in_diffusers(finished: tuple[Path, str]) -> None:
    assert DiffusionPipeline.from_pretrained(finished[0] / "edited", local_files_only=True).unet is not None


def test_run_prints_progress_table_verdict_and_paths(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    for number, name in enumerate(NAMES, start=1):
        assert f"stage {number} of {len(NAMES)}, {name} …" in printed
    assert printed.count("peak memory") == len(NAMES)
    verdict = json.loads((folder / "verdict.json").read_text())
    for model in verdict["models"].values():
        assert model["label"] in printed
    assert "VERDICT: refused" in printed
    flat = printed.replace("\n", "")
    assert str(folder / "report.html") in flat


def test_show_repeats_the_end_of_the_run(finished: tuple[Path, str]) -> None:
    result = excise("show", finished[0])
    assert result.exit_code == 3
    assert finished[1].endswith(result.stdout)


def test_second_run_recomputes_nothing(recipe: Path, folder: Path) -> None:
    before = stamps(folder)
    result = excise("run", recipe, "--out", folder)
    assert result.exit_code == 3
    assert result.stdout.count("done before") == len(NAMES)
    assert not recomputed(before, folder)


def test_changed_sparsity_recomputes_from_locate_on(tiny_recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    before, record = stamps(folder), load_record(Run(folder))
    changed = write_recipe(tmp_path / "changed.toml", tiny_recipe, {"locate.sparsity": 0.2})
    result = excise("run", changed, "--out", folder, "--until", "edit")
    assert result.exit_code == 0
    assert "stage 3 of 4, locate … (changed: settings)" in result.stdout
    assert recomputed(before, folder) == ["locate", "edit"]
    after = load_record(Run(folder))
    assert after.stages["collect"] == record.stages["collect"] and after.stages["rank"] == record.stages["rank"]
    assert after.stages["edit"].outputs != record.stages["edit"].outputs
    assert list(after.stages) == ["collect", "rank", "locate", "edit"]
    assert not (folder / "verdict.json").exists(), "the old verdict is about another edit"
    assert refused(excise("show", folder), "no finished validation")


@pytest.mark.parametrize("name", ["collect", "rank", "locate", "edit"])
def test_altered_output_is_recomputed_to_the_same_bytes(recipe: Path, folder: Path, name: str) -> None:
    before, record = stamps(folder), load_record(Run(folder))
    target = folder / OUTPUTS[name][0]
    if target.is_dir():
        target = target / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(target.read_bytes())
    data[-1] ^= 1
    target.write_bytes(data)
    result = excise("run", recipe, "--out", folder)
    assert result.exit_code == 3
    assert f"{name} … (its output is missing or was altered)" in result.stdout
    timed = ["report"] if name == "collect" else []  # it prints the times in collect.json, which are never the same
    assert recomputed(before, folder) == [name, *timed]
    assert sameness(load_record(Run(folder)), name) == sameness(record, name)


def test_missing_report_is_made_again(recipe: Path, folder: Path) -> None:
    before = stamps(folder)
    (folder / "report.md").unlink()
    assert excise("run", recipe, "--out", folder).exit_code == 3
    assert recomputed(before, folder) == ["report"]


def test_fresh_recomputes_everything(recipe: Path, folder: Path) -> None:
    before, record = stamps(folder), load_record(Run(folder))
    result = excise("run", recipe, "--out", folder, "--fresh", "--until", "locate")
    assert result.exit_code == 0
    assert recomputed(before, folder) == ["collect", "rank", "locate"]
    again = load_record(Run(folder))
    assert list(again.stages) == ["collect", "rank", "locate"]
    assert all(sameness(again, name) == sameness(record, name) for name in again.stages)
    assert not (folder / "edited").exists()


def test_second_job_on_a_folder_is_refused(recipe: Path, folder: Path) -> None:
    with (folder / "job.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert refused(excise("run", recipe, "--out", folder), "another job runs on this folder")
    assert excise("run", recipe, "--out", folder).exit_code == 3


def test_foreign_record_is_refused(recipe: Path, folder: Path) -> None:
    (folder / "job.json").write_text("{}{")
    assert refused(excise("run", recipe, "--out", folder), "job.json: is not the record of a job", "--fresh")


def begin_and_stop(recipe: Path, out: Path, with_signal: signal.Signals) -> Ended:
    """Run collect in a process of its own and stop it as soon as it has left a partial result."""
    running = start(command, "run", recipe, "--out", out, "--until", "collect")
    partial, limit = out / "partial" / "collect", time.monotonic() + 300
    while not (partial.is_dir() and any(partial.glob("[!.]*"))):
        assert running.process.is_alive() and time.monotonic() < limit, running.end()
        time.sleep(0.0005)
    assert running.process.pid is not None
    os.kill(running.process.pid, with_signal)
    ended = running.end()
    assert not (out / "statistics.safetensors").exists(), "it ended before it was stopped"
    return ended


def test_killed_collect_resumes_to_the_same_bytes(
    recipe: Path, tiny_recipe: Recipe, finished: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    assert begin_and_stop(recipe, out, signal.SIGKILL).returncode == -signal.SIGKILL
    left = {path.name: path.stat().st_mtime_ns for path in (out / "partial" / "collect").iterdir()}
    assert left and "collect" in load_record(Run(out)).unfinished
    other = Path(shutil.copytree(out, tmp_path / "other"))

    assert excise("run", recipe, "--out", out, "--until", "collect").exit_code == 0
    assert hash_path(out / "statistics.safetensors") == hash_path(finished[0] / "statistics.safetensors")

    changed = write_recipe(tmp_path / "changed.toml", tiny_recipe, {"collect.seed": 7})
    for folder in (other, tmp_path / "clean"):
        assert excise("run", changed, "--out", folder, "--until", "collect").exit_code == 0
    statistics = [hash_path(folder / "statistics.safetensors") for folder in (other, tmp_path / "clean", out)]
    assert statistics[0] == statistics[1], "another recipe's partial results were used"
    assert statistics[0] != statistics[2]


def test_interrupt_says_how_to_resume(recipe: Path, tmp_path: Path) -> None:
    stopped = begin_and_stop(recipe, tmp_path / "out", signal.SIGINT)
    assert stopped.returncode == 130
    assert "the same command resumes" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert (tmp_path / "out" / "job.log").read_text().endswith(" interrupted\n")
