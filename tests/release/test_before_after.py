"""Prompts, pictures and the full report go out only where the recipe allows it."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from excise.release.provenance import read_record
from tests.jobs import excise

PICTURE = "release/excise/before-after.png"


def test_ordinary_pictures_by_default(released: Path, release: Path) -> None:
    picture = Image.open(released / "run" / PICTURE)
    assert picture.width > picture.height > 200
    assert "Same prompts and seeds, ordinary prompts." in (release / "README.md").read_text()


def test_prompts_and_pictures_only_where_the_recipe_allows(released: Path, tmp_path: Path) -> None:
    run = shutil.copytree(released / "run", tmp_path / "run")
    text = (released / "recipe.toml").read_text()
    open_ = text.replace("prompts = false", "prompts = true").replace('pictures = "ordinary"', 'pictures = "all"')
    (tmp_path / "recipe.toml").write_text(open_)
    done = excise("run", tmp_path / "recipe.toml", "--out", run)
    assert done.exit_code == 0 and done.output.count("done before") == 7  # a release's settings change no stage
    assert "an astronaut in an orange suit" in str(read_record(run / "release").prompts.texts)
    assert (run / "release" / "excise" / "report.html").is_file()
    rows = [Image.open(folder / PICTURE).height for folder in (released / "run", run)]
    assert rows[1] == 2 * rows[0]
    assert "held-out verbatim prompts above ordinary prompts" in (run / "release" / "README.md").read_text()
    (tmp_path / "recipe.toml").write_text(text.replace('pictures = "ordinary"', 'pictures = "none"'))
    assert excise("run", tmp_path / "recipe.toml", "--out", run).exit_code == 0
    assert not list((run / "release").rglob("*.png"))
    assert "before-after" not in (run / "release" / "README.md").read_text()
