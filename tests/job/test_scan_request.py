"""What a scan is asked that cannot be is refused before anything is scored, and nobody's files are written over."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from excise.detect.scores import Scoring
from excise.detect.settings import ScanSettings
from excise.recipe import Sampling
from tests.conftest import write_table
from tests.jobs import excise, refused

QUICK = ("--steps", 1, "--seeds", 1, "--images", 2, "--batch", 8, "--device", "cpu", "--drawn", 1, "--guidance", 3.0)
TEXTS = [f"a {colour} {thing}" for colour in ("red", "green", "blue", "white") for thing in ("star", "ring", "cat")]


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """captions.csv, of two captions, and ordinary.csv, of twelve."""
    folder = tmp_path_factory.mktemp("captions")
    write_table(folder / "ordinary.csv", [{"prompt": text} for text in TEXTS])
    return write_table(folder / "captions.csv", [{"caption": "a pile of old coins"}, {"caption": "a rocket"}])


def scan(checkpoint: Path, captions: Path, out: Path, *more: object) -> object:
    ordinary = captions.parent / "ordinary.csv"
    return excise("scan", checkpoint, captions, "--ordinary", ordinary, "--rate", 0.2, "--out", out, *QUICK, *more)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--threshold", 0), ("--threshold", "nan"), ("--ssim", 2), ("--guidance", "nan"), ("--guidance", "inf")],
)
def test_numbers_that_no_recipe_takes_are_refused_first(
    tiny_checkpoint: Path, captions: Path, tmp_path: Path, option: str, value: object
) -> None:
    out = tmp_path / "scan"
    assert refused(scan(tiny_checkpoint, captions, out, option, value), option.removeprefix("--"))  # type: ignore[arg-type]
    assert not (out / "partial").exists()


def test_explain_and_audit_refuse_them_too(tiny_checkpoint: Path) -> None:
    assert refused(excise("explain", tiny_checkpoint, "a cat", "--device", "cpu", "--guidance", "nan"), "guidance")


@pytest.mark.parametrize("name", ["ordinary.csv", "recipe.toml", "pictures", "job.json"])
def test_a_folder_with_files_of_others_is_left_alone(
    tiny_checkpoint: Path, captions: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    if name == "pictures":
        (out / name).mkdir()
        (out / name / "holiday.png").write_text("mine")
    else:
        (out / name).write_text("mine")
    for more in ((), ("--fresh",)):
        assert refused(scan(tiny_checkpoint, captions, out, *more), name, "--out")  # type: ignore[arg-type]
    assert (out / name / "holiday.png" if name == "pictures" else out / name).read_text() == "mine"


def test_results_without_their_record_are_not_gone_on_with(
    tiny_checkpoint: Path, captions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scan"
    stale = out / "partial" / "captions" / "00000.safetensors"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another checkpoint")
    done = scan(tiny_checkpoint, captions, out)
    assert done.exit_code == 0, done.output  # type: ignore[attr-defined]
    assert stale.read_bytes() != b"of another checkpoint"


def test_most_seeds_are_more_than_half() -> None:
    for images in range(2, 12):
        share = ScanSettings(Scoring(Sampling()), images=images).share
        assert share > images / 2 >= share - 1 and share >= 2


def test_init_leaves_a_checkpoint_and_tables_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    before = sorted(file.name for file in model.iterdir())
    assert refused(excise("init", model, "--out", model), "model", "--out")
    assert sorted(file.name for file in model.iterdir()) == before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "ordinary.csv").write_text("prompt\nmine\n")
    assert refused(excise("init", model, "--out", mine), "ordinary.csv")
    assert (mine / "ordinary.csv").read_text() == "prompt\nmine\n"
