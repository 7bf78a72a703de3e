"""Fingerprints: they follow what counts, and nothing else; and the plan names all that a stage reads."""

from __future__ import annotations

from pathlib import Path

import pytest

import excise
from excise.files.hashing import hash_path
from excise.job.demand import demand_of
from excise.job.fingerprints import hash_code, hash_prompts, hash_settings, plain_code, source_files
from excise.job.names import NAMES
from excise.job.sequence import STAGES, Fingerprints
from excise.prompts.prompt import Prompt
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe
from tests.conftest import changed

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
    assert {"job/runner.py", "job/sequence.py", "job/__init__.py", "prompts/sets.py", "errors.py"} <= names
    assert not [name for name in names if name.startswith("cli/")]
    assert hash_code("excise.job.runner") != hash_code("excise.prompts.sets")


def test_the_recipe_and_the_lists_of_methods_are_not_code() -> None:
    """A new key, edit or attack recomputes nothing that does not use it."""
    for name in NAMES:
        names = {path.relative_to(PACKAGE).as_posix() for path in source_files(f"excise.stages.{name}")}
        assert f"stages/{name}.py" in names
        assert not [found for found in names if found.startswith("recipe/") or found == "__init__.py"]
        assert not names & {"edits/__init__.py", "attacks/__init__.py", "edits/zero.py", "edits/random.py"}
    assert "edits/base.py" in {p.relative_to(PACKAGE).as_posix() for p in source_files("excise.edits.zero")}


def test_a_chosen_method_is_code_of_its_stage(tiny_recipe: Recipe) -> None:
    fingerprints = {}
    for method in ("zero", "random"):
        recipe = changed(tiny_recipe, "edit", method=method)
        found = Fingerprints(recipe, prompt_sets(recipe), demand_of(recipe))
        done = {name: "0" for stage in STAGES for name in stage.outputs}
        fingerprints[method] = {stage.name: found.of(stage, done)["code"] for stage in STAGES}
    zero, random = fingerprints["zero"], fingerprints["random"]
    assert {name for name in NAMES if zero[name] != random[name]} == {"edit"}


def test_comments_docstrings_and_layout_are_not_code() -> None:
    first = '''"""A module."""\nLIMIT = 1  # why\n"""What it is."""\n\n\ndef f(x):\n    """Says."""\n    return x\n'''
    second = "LIMIT = 1\ndef f(x):\n    # other words\n    return (x)\n"
    assert plain_code(first) == plain_code(second)
    assert plain_code(first) != plain_code(second.replace("1", "2"))
    assert plain_code('def f():\n    """Only words."""\n') == plain_code("def f():\n    pass\n")
    assert plain_code("x = 'a text that counts'") != plain_code("x = 'another'")


def test_templates_count_as_code_where_they_are_used() -> None:
    assert [path for path in source_files("excise.stages.report") if path.suffix == ".jinja"]
    assert not [path for path in source_files("excise.stages.collect") if path.suffix != ".py"]


def test_adding_an_edit_would_not_recompute_collect() -> None:
    names = {path.relative_to(PACKAGE).as_posix() for path in source_files("excise.stages.collect")}
    assert not [name for name in names if name.startswith(("edits/", "attacks/", "verdict/", "report/", "release/"))]


def test_fingerprint_names_what_changed(tiny_recipe: Recipe) -> None:
    sets = prompt_sets(tiny_recipe)
    done = {name: "0" for stage in STAGES for name in stage.outputs}
    edit = STAGES[NAMES.index("edit")]
    fingerprints = Fingerprints(tiny_recipe, sets, demand_of(tiny_recipe))
    before, after = fingerprints.of(edit, done), fingerprints.of(edit, done | {"subspace.safetensors": "1"})
    assert {key for key in before if before[key] != after[key]} == {"subspace.safetensors"}


def test_stages_read_only_what_earlier_ones_leave() -> None:
    left: set[str] = set()
    for stage in STAGES:
        assert set(stage.reads) <= left
        left |= set(stage.outputs)
