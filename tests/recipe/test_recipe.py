"""The recipe: defaults of the published setting, and every fault named by file and key."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

import excise.recipe
from excise.errors import ExciseError
from excise.recipe import Recipe, load_recipe
from excise.recipe.text import to_toml
from tests.conftest import changed

MINIMAL = """
name = "one"
[model]
path = "checkpoint"
[prompts]
memorized = "memorized.csv"
ordinary = "ordinary.csv"
judged = "judged.csv"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_the_published_setting(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, MINIMAL))
    locate = recipe.locate
    assert (locate.sparsity, locate.calls, locate.vote, locate.contrast) == (0.01, 10, 0.0, "empty")
    assert (locate.rows, locate.unit, locate.margin, locate.false_discovery) == ("both", "entries", 1.0, None)
    assert (recipe.sampling.steps, recipe.sampling.guidance) == (50, 7.5)
    assert recipe.prompts.never_seen is None
    assert recipe.model.path == Path("checkpoint")


@pytest.mark.parametrize(
    ("addition", "named"),
    [
        ("[locate]\nsparsty = 0.01\n", "locate.sparsty: unknown key"),
        ("[extra]\nkey = 1\n", "extra: unknown key"),
        ("[collect]\ncalls = 'ten'\n", "collect.calls: "),
        ("[collect]\ncalls = 0\n", "collect.calls: "),
        ("[collect]\ngroups = 1\n", "collect.groups: "),
        ("[locate]\nsparsity = 0\n", "locate.sparsity: "),
        ("[locate]\ncontrast = 'noise'\n", "locate.contrast: "),
        ("[locate]\nvote = 1.5\n", "locate.vote: "),
        ("[validate]\nseeds = 0\n", "validate.seeds: "),
        ("[collect]\ncalls = 3\n[locate]\ncalls = 4\n", "locate.calls: 4 calls vote but only collect.calls = 3"),
    ],
)
def test_fault_names_file_and_key(tmp_path: Path, addition: str, named: str) -> None:
    path = written(tmp_path, MINIMAL + addition)
    with pytest.raises(ExciseError) as caught:
        load_recipe(path)
    assert f"{path}: {named}" in str(caught.value)


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL.replace('path = "checkpoint"\n', "") + "[collect]\nnoise = 3\n")
    with pytest.raises(ExciseError) as caught:
        load_recipe(path)
    assert "model.path: required key is missing" in str(caught.value)
    assert "collect.noise: " in str(caught.value)


@pytest.mark.parametrize("text", ["name = ", "name = 'a'\nname = 'b'\n"])
def test_not_toml(tmp_path: Path, text: str) -> None:
    with pytest.raises(ExciseError, match="not valid TOML"):
        load_recipe(written(tmp_path, text))


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ExciseError, match="not valid TOML"):
        load_recipe(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match=r"nowhere\.toml: cannot be read"):
        load_recipe(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("path", sorted(Path("recipes").glob("testbed*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_load_and_say_what_they_do(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    if path.stem != "testbed-train":
        assert load_recipe(path).name == path.stem


def test_full_recipe_edits_as_the_quick_one_does() -> None:
    quick, full = (load_recipe(Path(f"recipes/{name}.toml")) for name in ("testbed", "testbed-full"))
    for section in ("model", "prompts", "sampling", "collect", "locate", "verdict"):
        assert getattr(quick, section) == getattr(full, section)
    assert full.validate_.seeds >= 10
    assert full.validate_.random_edits >= quick.validate_.random_edits


def test_a_recipe_as_text_is_read_back_as_the_same_recipe(tiny_recipe: Recipe, tmp_path: Path) -> None:
    loaded = load_recipe(written(tmp_path, MINIMAL))
    waived = changed(tiny_recipe, "verdict", drift=None, held_out_replication=0.2)
    for recipe in (loaded, tiny_recipe, changed(waived, "edit", method="random")):
        assert load_recipe(written(tmp_path, to_toml(recipe))) == recipe


@pytest.mark.parametrize(
    ("addition", "named"),
    [
        ('[edit]\nmethod = "shrink"', "edit.method"),
        ("[edit.random]\ndraw = -1", "edit.random.draw"),
        ("[edit.zero]\nshare = 1", "edit.zero: unknown key"),
        ('[attack]\nmethods = ["prayer"]', "attack.methods.0"),
        ("[attack]\nmethods = []", "attack.methods"),
    ],
)
def test_faults_of_methods_are_named(tmp_path: Path, addition: str, named: str) -> None:
    with pytest.raises(ExciseError, match=f"recipe.toml: {named}"):
        load_recipe(written(tmp_path, f"{MINIMAL}\n{addition}\n"))


def test_every_key_is_documented() -> None:
    """A key's text stands below it in the code; only names that explain themselves have none."""
    bare = []
    for file in (Path(excise.recipe.__file__).parent).glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                for part, after in itertools.pairwise([*node.body, None]):
                    if isinstance(part, ast.AnnAssign) and not (
                        isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    ):
                        bare.append(f"{node.name}.{ast.unparse(part.target)}")
    assert sorted(name for name in bare if not name.startswith("Recipe.")) == ["Edit.random", "Release.license_link"]
