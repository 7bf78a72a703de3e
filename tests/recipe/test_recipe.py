"""The recipe: defaults of the best setting that is known, and every fault named by file and key."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

import excise.recipe
from excise.errors import ExciseError
from excise.recipe import PUBLISHED, Recipe, Section, load_recipe
from excise.recipe.text import to_toml
from tests.conftest import changed

TWIN_DRIFT = 0.79
"""Of the testbed's twin, which never saw the memorized images (docs/notebook.md, 2026-11-22)."""
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


def test_defaults_are_the_best_setting_that_is_known(tmp_path: Path) -> None:
    """Chosen by cross-validation on the testbed; the limits, such that its twin, the best there could be, passes."""
    recipe, chosen = load_recipe(written(tmp_path, MINIMAL)), load_recipe(Path("recipes/testbed.toml"))
    by_default = {"contrast": "ordinary", "calls": 10}  # no table of neighbours is asked for; images of more steps
    assert recipe.locate == chosen.locate.model_copy(update=by_default)
    assert (recipe.edit.method, chosen.edit.method) == ("zero", "project")  # as published; what a sweep chose
    assert recipe.verdict == chosen.verdict and recipe.verdict.drift == 1.0
    assert (recipe.sampling.steps, recipe.sampling.guidance) == (50, 7.5)
    assert recipe.prompts.never_seen is None
    assert recipe.model.path == Path("checkpoint")


def test_the_published_setting_is_a_recipe_away() -> None:
    """Chavhan et al. 2024: 1 % of each row, ten calls, their union, against the empty prompt."""
    recipe = load_recipe(Path("recipes/sd14-published.toml"))
    assert recipe.locate == PUBLISHED
    assert (PUBLISHED.sparsity, PUBLISHED.calls, PUBLISHED.vote, PUBLISHED.contrast) == (0.01, 10, 0.0, "empty")
    assert (PUBLISHED.rows, PUBLISHED.unit, PUBLISHED.margin, PUBLISHED.false_discovery) == (
        "both",
        "entries",
        1.0,
        None,
    )


@pytest.mark.parametrize("name", ["sd14", "sdxl", "sd3"])
def test_recipes_of_large_models_delete_what_is_known_and_search_for_it(tmp_path: Path, name: str) -> None:
    recipe, defaults = load_recipe(Path(f"recipes/{name}.toml")), load_recipe(written(tmp_path, MINIMAL))
    assert recipe.locate == defaults.locate.model_copy(update={"evidence": False})
    chain = load_recipe(Path("recipes/testbed-chain.toml"))
    assert recipe.edit.methods == chain.edit.methods == ("project", "unlearn")
    assert recipe.edit.project == chain.edit.project and recipe.edit.unlearn.gradient_checkpointing
    assert recipe.prompts.held_out == 0.0 and recipe.prompts.never_seen and "embedding" in recipe.attack.methods
    assert recipe.verdict.embedding_replication == defaults.verdict.embedding_replication


def test_what_is_too_large_to_train_is_edited_as_the_defaults_do(tmp_path: Path) -> None:
    recipe, defaults = load_recipe(Path("recipes/flux.toml")), load_recipe(written(tmp_path, MINIMAL))
    assert recipe.locate == defaults.locate and recipe.edit == defaults.edit


def test_the_recipe_of_the_readme_loads_and_asks_for_nothing_that_an_ideal_edit_misses(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", Path("README.md").read_text(encoding="utf-8"), re.DOTALL)
    recipe, defaults = load_recipe(written(tmp_path, text)), load_recipe(written(tmp_path, MINIMAL))
    assert recipe.locate == defaults.locate and recipe.edit == defaults.edit
    drift = TWIN_DRIFT if recipe.verdict.drift is not None else 0.0
    assert drift <= (recipe.verdict.drift or 0.0)


@pytest.mark.parametrize(
    ("addition", "named"),
    [
        ("[locate]\nsparsty = 0.01\n", "locate.sparsty: unknown key"),
        ("[extra]\nkey = 1\n", "extra: unknown key"),
        ("[collect]\ncalls = 'ten'\n", "collect.calls: Input should be a valid integer (got 'ten')"),
        ("[collect]\ncalls = 0\n", "collect.calls: "),
        ("[collect]\ngroups = 1\n", "collect.groups: "),
        ("[locate]\nsparsity = 0\n", "locate.sparsity: "),
        ("[locate]\ncontrast = 'noise'\n", "locate.contrast: "),
        ("[locate]\nvote = 1.5\n", "locate.vote: "),
        ("[validate]\nseeds = 0\n", "validate.seeds: "),
        (
            "[sampling]\nsize = '64'\n",
            "sampling.size: Input should be a valid integer (got '64'); write it with",
        ),
        ("[sampling]\nguidance = nan\n", "sampling.guidance: "),
        ("[collect]\ncalls = 3\n[locate]\ncalls = 4\n", "locate.calls: 4 calls vote but only collect.calls = 3"),
    ],
)
def test_fault_names_file_and_key(tmp_path: Path, addition: str, named: str) -> None:
    path = written(tmp_path, MINIMAL + addition)
    with pytest.raises(ExciseError) as caught:
        load_recipe(path)
    assert f"{path}: {named}" in str(caught.value)
    assert ("without quotes" in str(caught.value)) == ("'64'" in addition)


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL.replace('path = "checkpoint"\n', "") + "[collect]\nnoise = 3\n")
    with pytest.raises(ExciseError) as caught:
        load_recipe(path)
    assert "model.path: required key is missing" in str(caught.value)
    assert "collect.noise: " in str(caught.value)


def test_a_concept_is_not_moved_aside(tmp_path: Path) -> None:
    """It is known wherever it stands; of images, or by an edit that trains nothing, nothing is refused."""
    asked = MINIMAL + "[edit]\nmethod = 'unlearn'\n[edit.unlearn]\nunaware = true\n"
    assert load_recipe(written(tmp_path, asked)).edit.unlearn.unaware
    concept = asked.replace("[prompts]\n", "[prompts]\nconcept = 'owl'\n")
    with pytest.raises(ExciseError, match="unaware: an image moved aside is not known, and a concept is"):
        load_recipe(written(tmp_path, concept))
    assert load_recipe(written(tmp_path, concept.replace("'unlearn'", "'zero'"))).edit.unlearn.unaware


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
    if not path.stem.startswith("testbed-train"):
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
    assert sorted(name for name in bare if not name.startswith("Recipe.")) == ["Release.license_link"]


def plain(section: type[Section], above: str = "") -> Iterator[tuple[str, bool]]:
    """Dotted keys that hold a number or a truth value, and whether a whole number is one."""
    described = section.model_json_schema()["properties"]
    for name, field in section.model_fields.items():
        key = f"{above}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from plain(field.annotation, f"{key}.")
            continue
        schema = described[field.alias or name]
        kinds = {part.get("type") for part in (schema, *schema.get("anyOf", ()))}
        if kinds & {"integer", "number", "boolean"}:
            yield key, "boolean" not in kinds


@pytest.mark.parametrize(("key", "counts"), list(plain(Recipe)))
def test_a_number_is_a_number_and_truth_is_no_number(tmp_path: Path, key: str, counts: bool) -> None:
    section, name = key.rpartition(".")[::2]
    header = f"[{section}]\n"
    start = MINIMAL if header in MINIMAL else f"{MINIMAL}{header}"
    for wrong in ('"1"', "true") if counts else ('"true"', "1"):
        path = written(tmp_path, start.replace(header, f"{header}{name} = {wrong}\n"))
        with pytest.raises(ExciseError, match=rf"recipe\.toml: {re.escape(key)}: Input should be a valid"):
            load_recipe(path)


def test_whole_numbers_are_taken_for_others(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, f"{MINIMAL}[sampling]\nguidance = 3\n[verdict]\ndrift = 1\n"))
    assert (recipe.sampling.guidance, recipe.verdict.drift) == (3.0, 1.0)


def test_a_recipe_as_json_is_read_back_as_the_same_recipe(tiny_recipe: Recipe) -> None:
    """Its paths, tuples and numbers; and there, too, a number is a number."""
    recipe = changed(tiny_recipe, "release", license_files=(Path("LICENSE"), Path("NOTICE")), key=Path("key.pem"))
    text = recipe.model_dump_json(by_alias=True)
    assert Recipe.model_validate_json(text) == recipe
    with pytest.raises(ValidationError, match=r"sampling\.steps"):
        Recipe.model_validate_json(text.replace('"steps":4', '"steps":"4"'))
