"""Tables in narrow terminals: what does not fit goes on in the next line, and nothing is cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from excise.cli import main
from excise.recipe import Recipe
from excise.run.results import read_edit_record
from tests.jobs import write_recipe
from tests.trial.tried import Tried, try_out


def printed(width: int, *arguments: object) -> str:
    """What a command prints in a terminal of a width, which no line of a table is wider than."""
    result = CliRunner().invoke(main, [str(part) for part in arguments], env={"COLUMNS": str(width)})
    assert result.exit_code == 0, result.output
    tables = [line for line in result.output.splitlines() if line[:1] in (" ", *"┏┃┡│└")]
    assert max(map(len, tables)) <= width and "…" not in result.output
    return result.output


@pytest.fixture(scope="module")
def tried(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    return try_out(tiny_recipe, tmp_path_factory)


@pytest.mark.parametrize("width", [80, 60])
def test_diff_names_every_tensor_whole(tried: Tried, width: int) -> None:
    text = printed(width, "diff", tried.recipe.model.path, tried.run.edited)
    names = "".join(line[:-28].strip() for line in text.splitlines())  # of the first column, its lines joined
    for name, tensor in read_edit_record(tried.run).tensors.items():
        assert name in names
        (changed,) = {copy.changed for copy in tensor.copies.values()}
        assert f" {changed:,} " in text


@pytest.mark.parametrize("width", [80, 60])
def test_plan_says_every_word(tiny_recipe: Recipe, tmp_path: Path, width: int) -> None:
    recipe, out = write_recipe(tmp_path / "tiny.toml", tiny_recipe), tmp_path / "run"
    wide, narrow = (printed(columns, "plan", recipe, "--out", out) for columns in (400, width))
    for table in (wide, narrow):
        assert "collect → rank → locate" in table
    words = {word for word in wide.split() if word.isascii() and "/" not in word and word[0].isalpha()}
    assert words <= set(narrow.split())
    assert str(out) in "".join(line.strip("│ ").split("│")[-1].strip() for line in narrow.splitlines())
