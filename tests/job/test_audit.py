"""Audits from the command line: what is compared is comparable, nothing is left out in silence, memory stays flat."""

from __future__ import annotations

import gc
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from excise.detect.settings import AuditSettings
from excise.errors import ExciseError
from excise.job.audit import audit
from excise.mathematics.detection import least_null, p_values
from tests.conftest import write_table
from tests.jobs import excise, refused

QUICK = ("--device", "cpu", "--samples", 2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three pictures."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def table(folder: Path, name: str, captions: list[str], **more: list[str]) -> Path:
    """A table of the pictures with captions, and other columns."""
    rows = [{"prompt": text, "image": f"{number}.png"} for number, text in enumerate(captions)]
    for column, values in more.items():
        rows = [row | {column: value} for row, value in zip(rows, values, strict=True)]
    return write_table(folder / name, rows)


def test_captions_of_one_side_alone_are_refused(tiny_checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    """An image's own caption lowers its loss, whether it was trained on or not."""
    told = table(pictures, "told.csv", ["a cat", "a dog", "a cup"])
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in pictures.glob("*.png"):
        (bare / file.name).write_bytes(file.read_bytes())
    done = excise("audit", tiny_checkpoint, told, "--reference", bare, *QUICK)
    assert refused(done, "bare", "captions", "told.csv")
    assert refused(excise("audit", tiny_checkpoint, bare, "--reference", told, *QUICK), "captions")


def test_what_is_left_out_is_said_and_a_label_of_others_leaves_nothing_out(
    tiny_checkpoint: Path, pictures: Path
) -> None:
    (pictures / "more").mkdir(exist_ok=True)
    asked = table(pictures, "asked.csv", ["a cat", "", "a cup"])
    with asked.open("a") as file:
        file.write("a caption alone,\n")
    reference = table(pictures, "reference.csv", ["a dog", "a car", "a tree"], overfit_type=["N", "N", "N"])
    done = excise("audit", tiny_checkpoint, asked, "--reference", reference, *QUICK, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert len(found["images"]) == 2 and found["reference"] == 3
    assert any("asked.csv: 1 rows name no image" in line for line in found["skipped"])
    assert any("asked.csv: 1 rows have no caption" in line for line in found["skipped"])
    files = excise("audit", tiny_checkpoint, pictures, "--reference", pictures, *QUICK, "--steps", 0, "--json")
    assert any("more: a folder" in line for line in json.loads(files.stdout)["skipped"])


def test_pixels_of_one_image_are_in_memory_at_a_time(tiny_checkpoint: Path, pictures: Path) -> None:
    seen: list[int] = []

    def count(_line: str) -> None:
        gc.collect()
        held = [one for one in gc.get_objects() if isinstance(one, torch.Tensor) and one.shape == (3, 64, 64)]
        seen.append(len(held))

    settings = AuditSettings(samples=1, fitted=0, model={"device": "cpu", "dtype": "float32"})
    found = audit(tiny_checkpoint, pictures, pictures, settings, count)
    assert len(found.names) == 3 and seen and max(seen) <= 1


@pytest.mark.parametrize("rate", [0.5, 0.4, 0.3, 0.15, 0.07, 0.05, 0.01])
def test_as_many_are_asked_for_as_can_decide_and_no_more(rate: float) -> None:
    least = least_null(rate)
    assert p_values(np.array([0]), least)[0] <= rate < p_values(np.array([0]), least - 1)[0]
    assert math.isclose(least, 1 / rate - 1, abs_tol=1.0)


def test_a_scale_that_is_no_number_is_refused(tiny_checkpoint: Path, pictures: Path) -> None:
    settings = AuditSettings(size=0)
    with pytest.raises(ExciseError, match="size"):
        audit(tiny_checkpoint, pictures, pictures, settings)
