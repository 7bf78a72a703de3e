"""Audits by inversion from the command line: what is left, what is gone on with, what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.diffusion.pipelines import save
from tests.job.test_audit import pictures, table
from tests.jobs import excise, refused

__all__ = ["pictures"]

QUICK = ("--by", "inversion", "--device", "cpu", "--steps", 2, "--tokens", 3, "--draws", 2, "--drawing", 2,
         "--guidance", 3)  # fmt: skip
ANY = ("--threshold", 0.99)


def inverted(*arguments: Any) -> Any:
    """The document of an audit by inversion."""
    done = excise("audit", *arguments, *QUICK, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_table_json_and_pictures_are_left_and_nothing_is_searched_twice(
    tiny_checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "audit"
    found = inverted(tiny_checkpoint, pictures, "--out", out, *ANY)
    assert json.loads((out / "audit.json").read_text()) == found
    assert found["members"] is None and found["reference"] == 0 and found["rule"]["distance"] == 0.99
    for row in found["images"]:
        assert row["found"] and row["score"] == -row["divergence"] < 0 and row["probability"] == 1.0
    with (out / "audit.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [row["image"] for row in found["images"]]
    with Image.open(out / "inversion.png") as picture:
        assert picture.size == (3 * 68, 3 * 68)  # an image and two draws a row, each with its edge
    [kept] = (out / "partial" / "inversion").iterdir()
    before = kept.stat().st_mtime_ns
    assert inverted(tiny_checkpoint, pictures, "--out", out, *ANY) == found
    assert kept.stat().st_mtime_ns == before
    assert inverted(tiny_checkpoint, pictures, "--out", out, *ANY, "--fresh") == found
    assert kept.stat().st_mtime_ns != before
    nothing = inverted(tiny_checkpoint, pictures, "--out", out, "--threshold", 1e-6)
    assert not any(row["found"] for row in nothing["images"]) and nothing["images"][0]["score"] is None
    assert kept not in (out / "partial" / "inversion").iterdir()


def test_a_reference_is_searched_alike_and_captions_do_not_matter(
    tiny_checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    """One side of captions, one without: no caption is looked at."""
    asked = table(pictures, "told.csv", ["a cat", "a dog", "a cup"])
    found = inverted(tiny_checkpoint, asked, "--reference", pictures, "--out", tmp_path / "audit", *ANY)
    beside = {row["divergence"] for row in found["reference_images"]}
    assert {row["divergence"] for row in found["images"]} == beside and found["area"] == 0.5
    done = excise("audit", tiny_checkpoint, asked, "--reference", pictures, "--out", tmp_path / "audit", *QUICK, *ANY)
    assert "of 3 of 3 images an input was found" in done.output and "audit.csv" in done.output


def test_numbers_that_cannot_be_are_refused_before_anything_is_searched(
    tiny_checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "audit")
    plain = ("audit", tiny_checkpoint, pictures, "--by", "inversion", "--device", "cpu", *out)
    for option, value in (("--steps", 0), ("--tokens", -1), ("--draws", 0), ("--drawing", 0), ("--guidance", -1),
                          ("--threshold", 0), ("--ssim", 2)):  # fmt: skip
        assert refused(excise(*plain, option, value), option), option
    assert refused(excise(*plain, "--tokens", 99), "--tokens 99", "read 22 at most")
    by_loss = ("audit", tiny_checkpoint, pictures, "--device", "cpu")
    assert refused(excise(*by_loss), "--reference")
    told = excise(*by_loss, "--reference", pictures, "--by", "loss", "--steps", 3)
    assert refused(told, "--steps", "give --by inversion or familiarity")
    other = tmp_path / "other"
    other.mkdir()
    (other / "audit.csv").write_text("mine")
    assert refused(excise(*plain[:-1], other), "holds audit.csv", "not the folder of an audit")
    assert (other / "audit.csv").read_text() == "mine"


@pytest.mark.parametrize("family", ["hunyuan", "sana", "cogview4", "qwenimage"])
def test_a_pipeline_whose_prompts_are_more_than_tokens_is_refused_by_name(
    family: str, pictures: Path, tmp_path: Path
) -> None:
    done = excise("audit", save(family, tmp_path / family), pictures, *QUICK, "--out", tmp_path / "audit")
    assert refused(done, "cannot be searched for inputs", "FluxPipeline")


def test_membership_leaves_its_table_where_a_folder_is_named(
    tiny_checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "audit"
    done = excise("audit", tiny_checkpoint, pictures, "--reference", pictures, "--device", "cpu", "--samples", 2,
                  "--out", out, "--json")  # fmt: skip
    assert json.loads((out / "audit.json").read_text()) == json.loads(done.stdout)
    assert (out / "audit.csv").exists() and not (out / "inversion.png").exists()
