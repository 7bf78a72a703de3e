"""How far scores tell memorized captions from others: against whom, and without those that are memorized after all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from excise.checkpoint import Checkpoint
from excise.cli import main
from excise.measures.replication import Rule
from excise.testbed.detection import Caption, read_captions, tell, triggers

TESTBED = Path("checkpoints/testbed")


def test_a_trigger_among_the_others_is_left_out_of_the_second_row_alone() -> None:
    tables = ["memorized"] * 4 + ["neighbours"] * 4 + ["never_seen"] * 4 + ["ordinary"] * 4
    captions = [Caption(f"caption {i}", table, f"image {i % 8}") for i, table in enumerate(tables)]
    values = torch.tensor([8.0, 7.0, 6.0, 5.0, 9.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 10.0, 10.0, 0.0, 0.0])
    whole, less, ordinary = tell(captions, values.double(), frozenset({"caption 4"}), ("magnitude", 5))
    assert (whole.captions, less.captions, ordinary.captions) == (8, 7, 4)
    assert whole.area.value == pytest.approx(7 / 8) and whole.found.value == 0.0
    assert less.area.value == 1.0 and less.found.value == 1.0 and less.area.low < 1.0
    assert ordinary.area.value == 0.5 and (ordinary.score, ordinary.calls) == ("magnitude", 5)


def test_captions_of_one_picture_share_its_name() -> None:
    captions = read_captions(TESTBED)
    memorized = {one.image for one in captions if one.table == "memorized"}
    assert len(memorized) == 40, "three captions of each of four templates"
    assert {one.image for one in captions if one.table == "neighbours"} <= memorized


def test_a_caption_that_brings_back_anothers_picture_is_a_trigger() -> None:
    """A never-seen caption, of which the base draws a mandala that it memorized under other names; and a scene."""
    pipeline = Checkpoint.open(TESTBED / "base").load(torch.float32, torch.device("cpu"))
    asked = ["round mandala tapestry by jamila, lagoon from the monsoon series",
             "blue wavy background, a large snowman on the right"]  # fmt: skip
    assert triggers(pipeline, asked, TESTBED, 1, Rule(0.356, 0.365, 4)) == asked[:1]


def test_the_command_leaves_its_evidence(tmp_path: Path) -> None:
    options = ["--folder", TESTBED, "--out", tmp_path, "--seeds", "1", "--captions", "3", "--model", "base"]
    done = CliRunner().invoke(main, ["testbed", "detect", *map(str, options), "--calls", "2"])
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "detection.json").read_text())["models"]["base"]
    assert set(kept["scores"]) == {"detail, 2", "magnitude, 2", "one_step, 1", "curvature, 1"}
    assert len(kept["scores"]["detail, 2"]) == 12 and len(kept["told"]) == 12
    assert "by training image" in done.output and "curvature" in done.output
