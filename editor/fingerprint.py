"""Fingerprints: what a stage's result depends on, as hashes. Nothing heavy is imported to take them."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from editor.hashing import sha256_file
from editor.prompts import Prompt
from editor.recipe import Recipe

PACKAGE = Path(__file__).parent
LIBRARIES = ("torch", "diffusers", "transformers", "numpy")
TEMPLATES = (".jinja", ".html", ".css")


def hash_json(value: Any) -> str:
    """Hex sha256 of a value's JSON; equal values hash equally in every process."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_path(path: Path) -> str:
    """Hex sha256 of a file, or of the names and hashes of a folder's files; hidden ones do not count.

    Raises:
        OSError: there is no such file or folder.
    """
    if not path.is_dir():
        return sha256_file(path)
    inside = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    visible = sorted(name.as_posix() for name in inside if not any(part.startswith(".") for part in name.parts))
    return hash_json({name: hash_path(path / name) for name in visible})


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
        return [value.text, value.kind, value.group, *value.sources, *images]

    return hash_json(describe(prompts))


@cache
def hash_code(module: str) -> str:
    """Hash of the files that `source_files` finds for a module, and of the libraries' versions."""
    files = {path.relative_to(PACKAGE).as_posix(): hash_path(path) for path in source_files(module)}
    return hash_json([files, {name: version(name) for name in LIBRARIES}])


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
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    folders = {path.parent for path in found.values()} - {PACKAGE}
    templates = {file for folder in folders for file in folder.rglob("*") if file.suffix in TEMPLATES}
    return frozenset(found.values()) | templates


def _file_of(module: str) -> Path | None:
    """The file of a module of this package; None for anything else."""
    first, *rest = module.split(".")
    if first != PACKAGE.name:
        return None
    place = PACKAGE.joinpath(*rest)
    candidates = (place / "__init__.py", place.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)
