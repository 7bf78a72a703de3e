"""Whole comparisons without an edit on tiny checkpoints: every arm in the table with its cost, resumed, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.diffusion.pipelines import save
from tests.jobs import excise, refused

QUICK = ("--steps", 2, "--guidance", 3.0, "--images", 2, "--seeds", 1, "--device", "cpu", "--iterations", 2)


def mitigate(checkpoint: Path, tables: Path, out: Path, *more: object) -> Any:
    given = ("--prompts", tables / "memorized.csv", "--ordinary", tables / "ordinary.csv", "--out", out)
    return excise("mitigate", checkpoint, *given, *QUICK, *more)


def test_every_arm_is_drawn_measured_and_paid_for(tiny_checkpoint: Path, tiny_tables: Path, tmp_path: Path) -> None:
    edited, out = tmp_path / "edited", tmp_path / "out"
    shutil.copytree(tiny_checkpoint, edited)
    more = ("--edited", edited, "--target", 0.001, "--rate", 2.0)
    done = mitigate(tiny_checkpoint, tiny_tables, out, *more)
    assert done.exit_code == 0, done.output
    arms = json.loads((out / "mitigate.json").read_text())["arms"]
    assert list(arms) == ["base", "embedding", "tokens", "edited"]
    assert (arms["base"]["calls"], arms["base"]["gradients"]) == (2, 0) == (arms["tokens"]["calls"], 0)
    assert (arms["embedding"]["calls"], arms["embedding"]["gradients"]) == (2 + 2 + 2, 2)
    assert arms["base"]["drift"] is None and arms["embedding"]["drift"]["value"] > 0
    assert arms["edited"]["drift"]["value"] == 0, "the same weights draw the same"
    table = (out / "mitigate.md").read_text()
    assert "base, embedding moved (Wen)" in table and "calls an image" in table and (out / "mitigate.png").is_file()

    files = {file: file.stat().st_mtime_ns for file in (out / "arms").rglob("*.safetensors")}
    gone = min(files)
    gone.unlink()
    before = (out / "mitigate.json").read_bytes()
    assert mitigate(tiny_checkpoint, tiny_tables, out, *more).exit_code == 0
    assert (out / "mitigate.json").read_bytes() == before and gone.exists()
    assert all(file.stat().st_mtime_ns == time for file, time in files.items() if file != gone)


def test_the_target_is_what_ordinary_prompts_have(tiny_checkpoint: Path, tiny_tables: Path, tmp_path: Path) -> None:
    done = mitigate(tiny_checkpoint, tiny_tables, tmp_path, "--arm", "embedding")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "mitigate.json").read_text())
    assert found["target"] > 0 and list(found["arms"]) == ["base", "embedding"]
    assert f"{found['target']:.4g}" in done.output


def test_what_cannot_be_is_refused_before_anything_is_drawn(
    tiny_checkpoint: Path, tiny_tables: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert refused(mitigate(save("flux", tmp_path / "flux"), tiny_tables, out), "FluxPipeline", "without the text")
    given = ("--prompts", tiny_tables / "ordinary.csv", "--ordinary", tiny_tables / "ordinary.csv", "--out", out)
    assert refused(excise("mitigate", tiny_checkpoint, *given, *QUICK), "ordinary.csv", "names no image")
    assert refused(mitigate(tiny_checkpoint, tiny_tables, out, "--guidance", 1.0), "--guidance", "above 1")
    assert refused(mitigate(tiny_checkpoint, tiny_tables, out, "--threshold", 0), "--threshold")


@pytest.mark.parametrize("family", ["sdxl", "sd3", "pixart"])
def test_every_guided_family_is_mitigated(family: str, tiny_tables: Path, tmp_path: Path) -> None:
    done = mitigate(save(family, tmp_path / family), tiny_tables, tmp_path / "out", "--size", 64, "--images", 1)
    assert done.exit_code == 0, done.output
