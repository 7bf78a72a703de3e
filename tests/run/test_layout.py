"""Names of the files in a run's folder stand in run/ and nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import excise
from excise.run.layout import Place, Run

PACKAGE = Path(excise.__file__).parent
NAMES = sorted(place.name for place in vars(Run).values() if isinstance(place, Place) and Path(place.name).suffix)
OWN = ("run", "release", "testbed", "cli")
"""A release and the testbed have folders of their own, and the help of a command names files to people."""
ELSEWHERE = [file for file in sorted(PACKAGE.rglob("*.py")) if file.parent.name not in OWN]


def texts(source: str) -> Iterator[str]:
    """Every text in code, those in f-strings among them; not docstrings, and not what describes the name above it."""
    tree = ast.parse(source)
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def test_places_are_in_the_folder() -> None:
    run = Run(Path("runs/x"))
    assert run.verdict == Path("runs/x/verdict.json") and Run.verdict.name == "verdict.json"
    assert run.part("collect", "00007") == Path("runs/x/partial/collect/00007.safetensors")
    assert run.joined.is_relative_to(run.partial("attack")) and run.brought("twin") == Path("runs/x/twin")
    assert run.sweep_run("ffn").folder == Path("runs/x/sweep/ffn")


def test_no_name_is_written_elsewhere() -> None:
    assert len(NAMES) >= 12 and len(ELSEWHERE) > 90
    name = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, NAMES))})(?![\w.])")
    found = {
        (file.relative_to(PACKAGE).as_posix(), text)
        for file in ELSEWHERE
        for text in texts(file.read_text(encoding="utf-8"))
        if name.search(text)
    }
    assert not found
