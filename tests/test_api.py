"""The public API: every block of docs/api.md runs, in order, and importing it is cheap."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL.Image import Image

import excise
from excise.errors import ExciseError
from excise.recipe import Recipe
from tests.jobs import write_recipe
from tests.release.finished import WAIVED

DOCS = Path(__file__).parents[1] / "docs" / "api.md"


@pytest.mark.e2e
def test_the_blocks_of_the_documentation_run(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"sampling.steps": 2, "collect.calls": 2, "validate.random_edits": 0, **WAIVED}
    changes |= {f"attack.embedding.{key}": value for key, value in
                {"steps": 2, "curve": [1], "samples": 2, "starts": ["caption"]}.items()}  # fmt: skip
    recipe = write_recipe(tmp_path / "recipes" / "testbed.toml", tiny_recipe, changes)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 10
    found: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(DOCS), "exec"), found)
    run, loaded = found["run"], found["recipe"]
    assert loaded == excise.load_recipe(recipe)
    assert found["steps"][-1].startswith("stage 7 of 7, report: ")
    assert found["verdict"].accepted and isinstance(found["pictures"][0][0], Image)
    assert len(found["pictures"]) == len(found["asked"].prompts)
    assert list(found["row"].models) == ["base", "edited"] and found["row"].images == 2 and found["row"].certificates
    assert found["before"].tobytes() != found["after"].tobytes(), "the edit did nothing"
    changed = {
        difference.tensor for difference in excise.compare_checkpoints(loaded.model.path, run.checkpoint().folder)
    }
    assert changed == set(run.edit_record.tensors)
    assert found["exported"].path.stat().st_size == found["exported"].size
    assert found["finding"].what == "base" and not found["finding"].faults, "the release was made and verified"


def test_a_loaded_recipe_and_its_file_are_one_run(tiny_recipe: Recipe, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.toml", tiny_recipe)
    lines: list[str] = []
    excise.run_recipe(path, tmp_path / "run", until="collect", progress=lines.append)
    excise.run_recipe(excise.load_recipe(path), tmp_path / "run", until="collect", progress=lines.append)
    assert "done before" in lines[-1]


def test_what_is_not_a_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match="is not the folder of a run"):
        excise.open_run(tmp_path)


def test_importing_everything_public_imports_nothing_heavy() -> None:
    script = f"""
import sys, excise
for name in {excise.__all__!r}:
    assert getattr(excise, name).__doc__ or name == "__version__", name
heavy = {{"torch", "diffusers", "transformers", "matplotlib", "huggingface_hub"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert dir(excise) == sorted(excise.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = excise.nothing  # type: ignore[attr-defined]


def test_no_remote_code_is_run_and_nothing_is_printed_whichever_room_comes_first() -> None:
    program = "from excise.checkpoint import Checkpoint; from diffusers.utils import constants"
    program += "; assert constants.DIFFUSERS_DISABLE_REMOTE_CODE; from transformers import CLIPImageProcessor"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DIFFUSERS_", "TRANSFORMERS_"))}
    done = subprocess.run([sys.executable, "-c", program], env=clean, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
