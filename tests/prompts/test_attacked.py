"""Prompts of a checkpoint that was edited elsewhere: a control that is none is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from excise.errors import ExciseError
from excise.prompts.attacked import attacked_prompts
from tests.conftest import write_table


def test_an_image_that_should_be_forgotten_is_no_never_seen_one(tiny_tables: Path, tmp_path: Path) -> None:
    """Under another name and another caption it would pass for what no model has seen."""
    shutil.copy(tiny_tables / "verbatim0.png", tmp_path / "other.png")
    shutil.copy(tiny_tables / "never0.png", tmp_path / "never.png")
    never = [{"prompt": "another caption", "image": "other.png"}, {"prompt": "a lighthouse", "image": "never.png"}]
    table = write_table(tmp_path / "never.csv", never)
    with pytest.raises(ExciseError, match=r"never\.csv: .*other\.png.* is also an image of .*memorized\.csv"):
        attacked_prompts(tiny_tables / "memorized.csv", table)
    table = write_table(tmp_path / "never.csv", never[1:])
    assert len(attacked_prompts(tiny_tables / "memorized.csv", table)[0]) == 3
