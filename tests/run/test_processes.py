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
from tests.jobs import excise, write_recipe
from tests.processes import LAUNCH, command, together


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
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"validate.random_edits": 0, "validate.seeds": 1})
    alone = excise("run", recipe, "--out", tmp_path / "one")
    both = together(2, command, "run", recipe, "--out", tmp_path / "two")
    assert alone.exit_code == 3, alone.output
    assert [one.returncode for one in both] == [3, 0], [one.stderr for one in both]
    assert both[0].stdout.count("VERDICT") == 1 and both[1].stdout == "", "one of them speaks"
    assert ", 1 process; " in alone.stdout and ", 2 processes; " in both[0].stdout
    one, two = (load_record(Run(tmp_path / name)).stages for name in ("one", "two"))
    for name in ("collect", "rank", "locate", "edit"):
        for output, value in one[name].outputs.items():
            if output != "collect.json":
                assert value == two[name].outputs[output], output
    images = sorted((tmp_path / "one" / "images" / "replay").glob("*.safetensors"))
    assert images and [hash_path(path) for path in images] == [
        hash_path(tmp_path / "two" / "images" / "replay" / path.name) for path in images
    ]
    again = together(2, command, "run", recipe, "--out", tmp_path / "two")
    assert "stage 1 of 7, collect: done before" in again[0].stdout, again[0].stdout + again[0].stderr
