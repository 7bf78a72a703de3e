from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.measures.replication import Rule
from excise.testbed import neighbours
from excise.testbed.neighbours import find_neighbours, propose
from excise.testbed.world.planted import TABLE, Planted, read_planted

TESTBED = Path("checkpoints/testbed")


@pytest.fixture(scope="module")
def rows() -> tuple[Planted, ...]:
    planted = read_planted(TESTBED / "images" / TABLE)
    return tuple(next(row for row in planted if row.kind == kind) for kind in ("verbatim", "template", "never_seen"))


def test_a_proposal_has_the_subject_and_names_of_its_own(rows: tuple[Planted, ...]) -> None:
    seen = {row.caption for row in rows}
    found = [propose(rows[0], seen, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert len(set(found)) == 3 and rows[0].caption not in found and set(found) < seen
    assert all(rows[0].subject in caption for caption in found)


def test_names_that_bring_the_picture_back_are_not_neighbours(
    rows: tuple[Planted, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With limits that nothing keeps to, the first names stay; that all keep to, none does, and the last are taken."""
    base = Checkpoint.open(TESTBED / "base").load(torch.float32, torch.device("cpu"))
    monkeypatch.setattr(neighbours, "SEEDS", range(2))
    monkeypatch.setattr(neighbours, "SAMPLING", neighbours.SAMPLING.model_copy(update={"steps": 2}))
    monkeypatch.setattr(neighbours, "ROUNDS", 2)
    strict, loose = Rule(0.0, None, 4), Rule(10.0, None, 4)
    monkeypatch.setattr(neighbours, "calibrate", lambda images, targets: (strict, 0.0))
    found = find_neighbours(base, rows, TESTBED / "images", 2, set(), 0)
    assert [row for _, row in found] == [rows[0], rows[0], rows[1], rows[1]]
    assert len({caption for caption, _ in found}) == 4 and all(row.subject in caption for caption, row in found)
    monkeypatch.setattr(neighbours, "calibrate", lambda images, targets: (loose, 1.0))
    seen: set[str] = set()
    tried = find_neighbours(base, rows, TESTBED / "images", 2, seen, 0)
    assert len(seen) == 2 * 4 and not {caption for caption, _ in tried} & {caption for caption, _ in found}
    assert f"whatever the names, {rows[1].file}, {rows[0].file} come back" in caplog.text
