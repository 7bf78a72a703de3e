"""Several processes: the same bytes as one, and nothing hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from excise.files.hashing import hash_path
from excise.recipe import Recipe
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.processes import Processes
from tests.jobs import write_recipe
from tests.stages.killed import LAUNCH


def run(recipe: Path, out: Path, processes: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *LAUNCH, str(processes), "-m", "excise"]
    return subprocess.run(
        [*command, "run", str(recipe), "--out", str(out)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_piece_is_done_once_even_by_more_processes_than_pieces(size: int) -> None:
    parts = [Processes(rank, size).share(["a", "b", "c"]) for rank in range(size)]
    assert sorted(piece for part in parts for piece in part) == ["a", "b", "c"]
    assert [Processes(rank, size).leads for rank in range(size)] == [True] + [False] * (size - 1)


def test_processes_that_were_started_know_each_other(tmp_path: Path) -> None:
    script = tmp_path / "join.py"
    script.write_text(
        "from excise.run.processes import join_processes\n"
        "found = join_processes()\n"
        "found.wait()\n"
        "print(f'{found} {found.agree(found.rank)}\\n', end='', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, *LAUNCH, "2", str(script)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert sorted(done.stdout.splitlines()) == [f"{Processes(rank, 2)} 0" for rank in (0, 1)], done.stderr


@pytest.mark.e2e
def test_two_processes_leave_the_bytes_of_one(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe)
    alone = subprocess.run(
        [sys.executable, "-m", "excise", "run", str(recipe), "--out", str(tmp_path / "one")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    both = run(recipe, tmp_path / "two", 2)
    assert alone.returncode == 3, alone.stderr
    assert both.stdout.count("VERDICT") == 1, both.stdout + both.stderr
    assert ", 1 process; " in alone.stdout and ", 2 processes; " in both.stdout
    one, two = (load_record(Run(tmp_path / name)).stages for name in ("one", "two"))
    for name in ("collect", "rank", "locate", "edit"):
        for output, value in one[name].outputs.items():
            if output != "collect.json":
                assert value == two[name].outputs[output], output
    images = sorted((tmp_path / "one" / "images" / "replay").glob("*.safetensors"))
    assert images and [hash_path(path) for path in images] == [
        hash_path(tmp_path / "two" / "images" / "replay" / path.name) for path in images
    ]
    again = run(recipe, tmp_path / "two", 2)
    assert "stage 1 of 7, collect: done before" in again.stdout, again.stdout + again.stderr
