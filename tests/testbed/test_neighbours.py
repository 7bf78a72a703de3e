from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.measures.replication import Rule, load_target
from excise.prompts.prompt import read_prompts
from excise.testbed import neighbours
from excise.testbed.neighbours import Screen, find_neighbours, propose
from excise.testbed.world.planted import TABLE, Planted, prompt_of, read_planted

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


def test_names_that_bring_a_picture_back_are_not_neighbours(
    rows: tuple[Planted, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With limits that nothing keeps to, the first names stay; with such as all keep to, others are tried in vain."""
    base = Checkpoint.open(TESTBED / "base").load(torch.float32, torch.device("cpu"))
    monkeypatch.setattr(neighbours, "SEEDS", (range(1), range(1, 2)))
    monkeypatch.setattr(neighbours, "SAMPLING", neighbours.SAMPLING.model_copy(update={"steps": 2}))
    monkeypatch.setattr(neighbours, "ROUNDS", 2)
    strict, loose = Rule(0.0, None, 4), Rule(10.0, None, 4)
    monkeypatch.setattr(neighbours, "calibrate", lambda images, targets: (strict, 0.0))
    found = find_neighbours(base, rows, TESTBED / "images", 2, set(), 0)
    assert [row for _, row in found] == [rows[0], rows[0], rows[1], rows[1], rows[2]]
    assert len({caption for caption, _ in found}) == 5 and all(row.subject in caption for caption, row in found)
    assert found[-1] == (rows[2].caption, rows[2])
    monkeypatch.setattr(neighbours, "calibrate", lambda images, targets: (loose, 1.0))
    seen: set[str] = set()
    tried = find_neighbours(base, rows, TESTBED / "images", 2, seen, 0)
    assert len(seen) == 2 * 4 + 1, "two names for each of four neighbours, and one beside a never-seen row's own"
    assert {caption for caption, _ in tried} <= {*seen, rows[2].caption}
    assert f"captions beside {', '.join(sorted(row.file for row in rows))} bring planted pictures back" in caplog.text


def test_a_caption_is_a_trigger_whichever_picture_it_brings_back(
    rows: tuple[Planted, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memorized caption is, of its own picture; that no never-seen one is of itself, the shipped table says."""
    monkeypatch.setattr(neighbours, "SEEDS", (range(4_000, 4_002), range(4_002, 4_006)))
    base = Checkpoint.open(TESTBED / "base").load(torch.float32, torch.device("cpu"))
    targets = [load_target(prompt_of(row, TESTBED / "images"), 64, 64) for row in rows if row.copies]
    screen = Screen(base, targets, Rule(0.356, 0.365, 4))
    clean = read_prompts(TESTBED / "prompts/never_seen.csv")[0].text
    share, none = screen.returns([rows[0].caption, clean])
    assert share >= 0.5 and none == 0.0
