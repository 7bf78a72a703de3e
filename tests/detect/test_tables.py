"""Tables of a scan: whatever stands in a caption or names an image, what is written is read again as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.detect.decisions import Row
from excise.detect.tables import write_memorized, write_rows
from excise.prompts.streams import Caption
from excise.prompts.tables import read_table


def row(text: str, image: str = "") -> Row:
    return Row(Caption(1, text, image), {"magnitude": 1.0}, 0.01, 0.02, True)


@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", "a\nb", 'a "b", c', "a\tb"])
def test_captions_come_back_as_they_were(tmp_path: Path, text: str) -> None:
    write_rows(tmp_path / "plain.csv", ("prompt",), [(text,), ("next",)])
    assert [one.text for one in read_table(tmp_path / "plain.csv").rows] == [text, "next"]


@pytest.mark.parametrize("image", ["https://example.org/" + "a" * 300, "x\0y", "none.png", "a" * 5000])
def test_what_names_no_file_is_no_training_image(tmp_path: Path, image: str) -> None:
    kinds = write_memorized(tmp_path / "memorized.csv", [row("a cat", image)], {}, tmp_path)
    assert kinds == {"a cat": "none"}
