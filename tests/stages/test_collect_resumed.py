"""A collection that was killed, or shared between processes, leaves the bytes of one that was not."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.processes import Processes
from excise.stages import collect
from tests.conftest import changed
from tests.jobs import context_of
from tests.stages.conftest import EVERYTHING
from tests.stages.killed import collect_until_killed


@pytest.mark.parametrize("done", [3, "all"])
def test_a_killed_collection_resumes_to_the_same_bytes(
    tiny_recipe: Recipe, tiny_sets: PromptSets, collected: Path, tmp_path: Path, done: int | str
) -> None:
    chunks = len(collect.plan_chunks(tiny_recipe, tiny_sets, EVERYTHING))
    count = chunks if done == "all" else int(done)
    run = Run(tmp_path / "run")
    assert collect_until_killed(tiny_recipe, EVERYTHING, run.folder, count + 1) == -signal.SIGKILL
    kept = {file: file.read_bytes() for file in run.partial("collect").glob("*.safetensors")}
    left_behind = [run.folder, run.partial("collect")][count < chunks].glob("*.tmp")
    assert len(kept) == count and len(list(left_behind)) == 1
    assert not run.statistics.exists() and not run.cost.exists()
    written = {file: file.stat().st_mtime_ns for file in kept}
    collect.run(context_of(tiny_recipe, run.folder, tiny_sets, EVERYTHING))
    assert {file: file.read_bytes() for file in kept} == kept
    assert {file: file.stat().st_mtime_ns for file in kept} == written
    assert run.statistics.read_bytes() == Run(collected).statistics.read_bytes()
    assert not list(run.folder.rglob("*.tmp"))
    costs = [json.loads(found.cost.read_text()) for found in (run, Run(collected))]
    assert costs[0]["calls"] == costs[1]["calls"] and costs[0]["sets"] == costs[1]["sets"]


def test_two_processes_leave_the_bytes_of_one(
    tiny_recipe: Recipe, tiny_sets: PromptSets, collected: Path, tmp_path: Path
) -> None:
    """One after the other: only who leads merges, and by then the other's part is there."""
    run, (first, second) = Run(tmp_path), (Processes(0, 2), Processes(1, 2))
    collect.run(context_of(tiny_recipe, run.folder, tiny_sets, EVERYTHING, second))
    count = len(collect.plan_chunks(tiny_recipe, tiny_sets, EVERYTHING))
    names = {file.name for file in run.partial("collect").iterdir()}
    assert names == {f"{number:05d}.safetensors" for number in range(1, count, 2)}
    assert {file.name for file in run.folder.iterdir()} == {"partial"}
    collect.run(context_of(tiny_recipe, run.folder, tiny_sets, EVERYTHING, first))
    assert run.statistics.read_bytes() == Run(collected).statistics.read_bytes()


def test_everything_done_needs_no_model(tiny_recipe: Recipe, tiny_sets: PromptSets, collected: Path) -> None:
    statistics = Run(collected).statistics
    before = statistics.read_bytes()
    statistics.unlink()
    nowhere = changed(tiny_recipe, "model", path=Path("nowhere"))
    collect.run(context_of(nowhere, collected, tiny_sets, EVERYTHING))
    assert statistics.read_bytes() == before
