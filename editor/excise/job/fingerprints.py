"""Fingerprints: what a stage's result depends on, as hashes. Nothing heavy is imported to take them."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from excise.files.hashing import hash_json, hash_path
from excise.prompts.prompt import Prompt
from excise.recipe import Recipe

PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("torch", "diffusers", "transformers", "numpy")
TEMPLATES = (".jinja", ".html", ".css")
NOT_CODE = ("excise", "excise.version", "excise.recipe")
"""Modules, with what lies in them, that no result depends on: of the recipe a stage depends on the keys that it reads,
and its fingerprint holds these one by one."""


REGISTRIES = ("excise.edits", "excise.attacks")
"""Modules that list others by name. A result depends on those that its recipe chose, not on the list."""


def look_up(recipe: Recipe, key: str) -> Any:
    """The value of a recipe's key (``locate.calls``), or a whole section as a dictionary (``locate``)."""
    value: Any = recipe.model_dump(by_alias=True)
    for name in key.split("."):
        value = value[name]
    return value


def hash_settings(recipe: Recipe, keys: Iterable[str]) -> str:
    """Hash of the parts of a recipe that ``keys`` name."""
    return hash_json({key: look_up(recipe, key) for key in keys})


def hash_prompts(prompts: Any, with_images: bool) -> str:
    """Hash of prompts in nested tuples: their texts and groupings, and with images everything a table says."""

    def describe(value: Any) -> Any:
        if not isinstance(value, Prompt):
            return [describe(item) for item in value]
        if not with_images:
            return value.text
        images = [hash_path(path) if path else None for path in (value.image, value.mask)]
        return [value.text, value.kind, value.group, value.target, *value.sources, *images]

    return hash_json(describe(prompts))


@cache
def hash_code(*modules: str) -> str:
    """Hash of the code that `source_files` finds for some modules, and of the libraries' versions."""
    found = frozenset[Path]().union(*map(source_files, modules))
    files = {path.relative_to(PACKAGE).as_posix(): _hash_source(path) for path in found}
    return hash_json([files, {name: version(name) for name in LIBRARIES}])


def _hash_source(path: Path) -> str:
    """Hash of a file; of Python code without its comments, docstrings and layout, which change no result."""
    if path.suffix != ".py":
        return hash_path(path)
    return hashlib.sha256(plain_code(path.read_text(encoding="utf-8")).encode()).hexdigest()


def plain_code(source: str) -> str:
    """Python code without comments, docstrings, and texts below a name that describe it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def source_files(module: str) -> frozenset[Path]:
    """The module's own file, those of the package's modules that it imports, directly or not, and their templates."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path is None or name in found:
            continue
        found[name] = path
        waiting += _imported(ast.parse(path.read_text(encoding="utf-8")))
    folders = {path.parent for path in found.values()} - {PACKAGE}
    templates = {file for folder in folders for file in folder.rglob("*") if file.suffix in TEMPLATES}
    return frozenset(path for name, path in found.items() if name not in REGISTRIES) | templates


def _imported(tree: ast.AST) -> Iterator[str]:
    """Names of the modules that code imports; a package's own file runs before any module in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _file_of(module: str) -> Path | None:
    """The file of a module of this package; None for anything else, and for what is not code."""
    first, *rest = module.split(".")
    if first != PACKAGE.name or module in NOT_CODE or module.startswith("excise.recipe."):
        return None
    place = PACKAGE.joinpath(*rest)
    candidates = (place / "__init__.py", place.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)
