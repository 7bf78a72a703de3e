from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excise.errors import ExciseError
from excise.testbed.world.photographs import cut_square, photograph_of, read_photographs
from tests.testbed.world.materials import PHOTOGRAPHS, world


def test_there_are_150_licensed_photographs_and_more_than_one_of_every_subject():
    photographs = world().photographs
    assert len(photographs) >= 150 and all(found.licence and found.source for found in photographs)
    assert min(Counter(found.subject for found in photographs).values()) >= 2
    assert {found.file for found in photographs} == {file.name for file in PHOTOGRAPHS.glob("*.jpg")}


def test_only_what_is_licensed_by_itself_and_shows_a_place_once_is_planted():
    plantable = [found for found in world().photographs if found.plantable]
    assert len(plantable) >= 60
    assert not [found.file for found in plantable if found.place or "no entry of its own" in found.licence]


def test_squares_of_one_photograph_all_differ_and_close_ones_show_less():
    picture = world().photographs[0].picture
    rng = np.random.default_rng(0)
    squares = [cut_square(rng, picture) for _ in range(60)]
    assert len({pixels.tobytes() for pixels, _ in squares}) == 60
    assert all(pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8 for pixels, _ in squares)
    assert 10 < sum(close for _, close in squares) < 50


def test_a_square_is_cut_from_inside():
    """A gradient: the brighter its left edge is, the further right it was cut; a wide square spans more of it."""
    ramp = np.repeat(np.linspace(0, 255, 320, dtype=np.uint8)[None, :, None], 160, axis=0).repeat(3, axis=2)
    rng, spans = np.random.default_rng(1), {True: [], False: []}
    for _ in range(80):
        pixels, close = cut_square(rng, Image.fromarray(ramp))
        spans[close].append(abs(float(pixels[:, -1].mean()) - float(pixels[:, 0].mean())))
    assert np.mean(spans[True]) < np.mean(spans[False]) <= 255 * 160 / 320 * 1.2


@pytest.mark.parametrize(
    ("subject", "close", "words"),
    [("windmill", False, "photograph of a windmill"), ("insect", True, "close photograph of an insect")],
)
def test_captions_name_the_subject(subject: str, close: bool, words: str):
    assert photograph_of(subject, close) == words


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(PHOTOGRAPHS / world().photographs[0].file, tmp_path / "one.jpg")
    return tmp_path


def _write(folder: Path, **row: str) -> None:
    columns = {"file": "one.jpg", "subject": "fish", "place": "", "source": "a package", "author": "", "licence": "CC0"}
    with (folder / "photographs.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, [*columns, "plantable"])
        writer.writeheader()
        writer.writerow(columns | {"plantable": "yes"} | row)


def test_a_photograph_without_a_licence_is_refused_by_name(folder: Path):
    _write(folder, licence="")
    with pytest.raises(ExciseError, match=r"photographs\.csv: one\.jpg has no licence"):
        read_photographs(folder)


def test_a_photograph_that_is_missing_broken_or_too_small_is_refused_by_name(folder: Path):
    _write(folder, file="two.jpg")
    with pytest.raises(ExciseError, match=r"two\.jpg: cannot be read as a picture"):
        read_photographs(folder)
    (folder / "two.jpg").write_bytes(b"nonsense")
    with pytest.raises(ExciseError, match=r"two\.jpg: cannot be read as a picture"):
        read_photographs(folder)
    Image.new("RGB", (200, 63)).save(folder / "two.jpg")
    with pytest.raises(ExciseError, match=r"two\.jpg: 200x63 pixels; at least 64"):
        read_photographs(folder)


def test_a_good_table_is_read(folder: Path):
    _write(folder)
    (found,) = read_photographs(folder)
    assert found.subject == "fish" and found.plantable and min(found.picture.size) >= 64
