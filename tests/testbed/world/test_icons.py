from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib import get_data_path
from PIL import Image

from excise.errors import ExciseError
from excise.testbed.world.icons import SIDE, draw_icons, read_icons
from tests.testbed.world.materials import ICONS


def test_there_are_at_least_60_nouns_and_no_two_look_alike():
    icons = read_icons(ICONS)
    assert len(icons) >= 60 and all(noun.isalpha() and noun.islower() for noun in icons)
    pictures = {noun: np.asarray(icon, dtype=np.float32) for noun, icon in icons.items()}
    for noun, pixels in pictures.items():
        assert 0.15 < (pixels[..., 3] > 128).mean() < 0.99, f"{noun}: nothing, or no ground to be seen"
        nearest = min(np.abs(pixels - other).mean() for name, other in pictures.items() if name != noun)
        assert nearest > 5


def test_every_picture_is_listed():
    with (ICONS / "icons.csv").open(newline="") as table:
        listed = {row["file"] for row in csv.DictReader(table)}
    assert listed == {file.name for file in ICONS.glob("*.png")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "icons").mkdir()
    for noun in ("apple", "key"):
        shutil.copy(ICONS / f"{noun}.png", tmp_path / "icons")
    (tmp_path / "icons/icons.csv").write_text("noun,file\napple,apple.png\nkey,key.png\n")
    return tmp_path / "icons"


def test_a_noun_without_a_picture_is_refused_by_name(folder: Path):
    (folder / "key.png").unlink()
    with pytest.raises(ExciseError, match=r"key\.png: no picture of the noun 'key'"):
        read_icons(folder)


def test_a_noun_that_stands_twice_is_refused_by_name(folder: Path):
    with (folder / "icons.csv").open("a") as table:
        table.write("key,apple.png\n")
    with pytest.raises(ExciseError, match=r"icons\.csv: two rows with the noun 'key'"):
        read_icons(folder)


def test_a_picture_of_another_size_is_refused_by_name(folder: Path):
    Image.new("RGBA", (64, 70)).save(folder / "key.png")
    with pytest.raises(ExciseError, match=rf"key\.png: 64x70 pixels; icons are {SIDE}x{SIDE}"):
        read_icons(folder)


def test_a_table_that_is_missing_or_lacks_a_column_is_refused_by_name(folder: Path):
    (folder / "icons.csv").write_text("noun\napple\n")
    with pytest.raises(ExciseError, match=r"icons\.csv: no rows, or no column file"):
        read_icons(folder)
    with pytest.raises(ExciseError, match=r"none/icons\.csv: cannot be read .*correct `data\.icons`"):
        read_icons(folder / "none")


def test_what_is_no_font_of_emoji_is_refused(tmp_path: Path):
    nouns = tmp_path / "nouns.csv"
    nouns.write_text("noun,character\nspace,\u2003\n")
    with pytest.raises(ExciseError, match="not a font with bitmaps"):
        draw_icons(nouns, ICONS / "key.png", tmp_path / "out")
    letters = Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    with pytest.raises(ExciseError, match=r"DejaVuSans\.ttf has no picture of 'space'"):
        draw_icons(nouns, letters, tmp_path / "out")


def test_icons_are_drawn_and_read_back(tmp_path: Path):
    """From a font of letters, which this machine is sure to have."""
    nouns = tmp_path / "nouns.csv"
    nouns.write_text("noun,character\nsun,☀\nletter,A\n")
    letters = Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    assert draw_icons(nouns, letters, tmp_path / "out") == 2
    icons = read_icons(tmp_path / "out")
    assert list(icons) == ["sun", "letter"]
    for icon in icons.values():
        assert icon.getbbox() is not None and icon.size == (SIDE, SIDE)
