"""Fingerprints: they follow what counts, and nothing else; and the plan names all that a stage reads."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

import excise
from excise.job.fingerprints import hash_code, hash_path, hash_prompts, hash_settings, source_files
from excise.job.sequence import NAMES, STAGES, Fingerprints, Stage
from excise.prompts.sets import Prompt, PromptSets, prompt_sets
from excise.recipe import Recipe

PACKAGE = Path(excise.__file__).parent


def test_hash_of_a_folder_follows_names_and_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_bytes(b"one")
    first = hash_path(folder)
    (folder / ".hidden").touch()
    assert hash_path(folder) == first
    (folder / "inner" / "file").write_bytes(b"two")
    second = hash_path(folder)
    (folder / "inner" / "file").rename(folder / "file")
    assert len({first, second, hash_path(folder)}) == 3


def test_hash_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hash_path(tmp_path / "gone")


def test_settings_are_sections_or_keys(tiny_recipe: Recipe) -> None:
    other = tiny_recipe.model_copy(update={"locate": tiny_recipe.locate.model_copy(update={"sparsity": 0.5})})
    assert hash_settings(tiny_recipe, ["locate"]) != hash_settings(other, ["locate"])
    assert hash_settings(tiny_recipe, ["locate.calls", "collect"]) == hash_settings(other, ["locate.calls", "collect"])


def test_prompts_count_by_text_and_only_with_images_by_image(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(b"one")
    plain, pictured = ((Prompt("a cat"),),), ((Prompt("a cat", image),),)
    assert hash_prompts(plain, False) == hash_prompts(pictured, False)
    assert hash_prompts(plain, True) != hash_prompts(pictured, True)
    before = hash_prompts(pictured, True)
    image.write_bytes(b"two")
    assert hash_prompts(pictured, True) != before
    assert hash_prompts(((Prompt("a cat"), Prompt("a dog")),), False) != hash_prompts(
        ((Prompt("a cat"),), (Prompt("a dog"),)), False
    )


def test_sources_are_followed_through_the_package() -> None:
    names = {path.relative_to(PACKAGE).as_posix() for path in source_files("excise.job.runner")}
    assert {"job.py", "plan.py", "fingerprint.py", "recipe.py", "prompts.py", "errors.py"} <= names
    assert "cli.py" not in names
    assert hash_code("excise.job.runner") != hash_code("excise.prompts.sets")


def test_templates_count_as_code_where_they_are_used() -> None:
    assert [path for path in source_files("excise.stages.report") if path.suffix == ".jinja"]
    assert not [path for path in source_files("excise.stages.collect") if path.suffix != ".py"]


def test_no_stage_depends_on_the_command_line_or_the_job() -> None:
    for name in NAMES:
        names = {path.relative_to(PACKAGE).as_posix() for path in source_files(f"excise.stages.{name}")}
        assert f"stages/{name}.py" in names
        assert not names & {"cli.py", "job.py", "terminal.py"}


def test_mathematics_and_diffusion_do_not_know_each_other() -> None:
    for room, other in (("mathematics", "diffusion"), ("diffusion", "mathematics")):
        for file in (PACKAGE / room).glob("*.py"):
            reached = source_files(f"editor.{room}.{file.stem}")
            assert not [path for path in reached if path.parent.name == other], file


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_plan_names_every_setting_and_set_that_a_stage_reads(stage: Stage) -> None:
    """Every ``recipe.section.key`` and ``sets.field`` in the stage's module stands in its plan."""
    tree = ast.parse((PACKAGE / "stages" / f"{stage.name}.py").read_text(encoding="utf-8"))
    names = {
        ast.unparse(node).replace("validate_", "validate") for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }
    allowed = {*stage.settings, *stage.files}
    for name in names:
        root, _, rest = name.partition(".")
        section, _, key = rest.partition(".")
        if root == "recipe" and section in {*Recipe.model_fields, "validate"}:
            covered = section in allowed or (f"{section}.{key.partition('.')[0]}" in allowed)
            whole = not key and any(other.startswith(f"{name}.") for other in names)
            assert covered or whole, f"stages/{stage.name}.py reads {name}"
        if root == "sets" and section in {field.name for field in dataclasses.fields(PromptSets)}:
            assert section in stage.sets, f"stages/{stage.name}.py reads {name}"


def test_fingerprint_names_what_changed(tiny_recipe: Recipe) -> None:
    sets = prompt_sets(tiny_recipe)
    done = {name: "0" for stage in STAGES for name in stage.outputs}
    edit = STAGES[NAMES.index("edit")]
    before = Fingerprints(tiny_recipe, sets).of(edit, done)
    after = Fingerprints(tiny_recipe, sets).of(edit, done | {"subspace.safetensors": "1"})
    assert {key for key in before if before[key] != after[key]} == {"subspace.safetensors"}


def test_stages_read_only_what_earlier_ones_leave() -> None:
    left: set[str] = set()
    for stage in STAGES:
        assert set(stage.reads) <= left
        left |= set(stage.outputs)
