"""What a recipe names elsewhere is brought here before the job: Hub repositories, Hub tables, single-file checkpoints.

After it, every path of the recipe is a local folder in diffusers layout, or a local table. Checkpoints are
made of hard links to the Hub's cache where the disk can do that.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from excise.errors import ExciseError
from excise.files.hashing import hash_path, sha256_file
from excise.files.writing import put_folder, unfinished_folder, write_json
from excise.recipe import Recipe, hub_address

CHECKPOINTS = ("path", "twin")
"""Keys of ``[model]`` that name checkpoints."""
TABLES = ("memorized", "ordinary", "judged", "never_seen")
SINGLE_FILE = ".safetensors"
_CONVERTED = re.compile(r"(.+) \(sha256 ([0-9a-f]{64})\), converted by ")


def is_elsewhere(recipe: Recipe) -> bool:
    """Whether anything of the recipe must be fetched or converted."""
    model, tables = recipe.model, recipe.prompts
    checkpoints = [getattr(model, key) for key in CHECKPOINTS]
    return any(map(_is_foreign, checkpoints)) or any(hub_address(getattr(tables, key)) for key in TABLES)


def bring(recipe: Recipe, places: Mapping[str, Path]) -> tuple[Recipe, dict[str, str]]:
    """The recipe with local paths, and where each that was not local came from, by key.

    What was brought before and is unchanged is not brought again.

    Args:
        recipe: as it was written.
        places: for each key of `CHECKPOINTS` the folder that its checkpoint is brought into.

    Raises:
        ExciseError: names the key or address, and what the Hub or diffusers said.
    """
    tables, origins = _bring_tables(recipe)  # first: they are small, and may be wrong
    model: dict[str, Any] = {}
    for key in CHECKPOINTS:
        path = getattr(recipe.model, key)
        if path is not None and _is_foreign(path):
            model[key] = places[key]
            origins[f"model.{key}"] = _bring_checkpoint(recipe, f"model.{key}", path, places[key])
    return _changed(recipe, model, tables), origins


def pinned(recipe: Recipe, sources: dict[str, str]) -> Recipe:
    """The recipe with the commits that a run has brought in place of branches, which may have moved on since."""
    plain = {key: Path(origin) for key, origin in sources.items() if hub_address(Path(origin)) and " " not in origin}
    model = {key: plain[f"model.{key}"] for key in CHECKPOINTS if f"model.{key}" in plain}
    return _changed(recipe, model, {key: plain[f"prompts.{key}"] for key in TABLES if f"prompts.{key}" in plain})


def converted_from(origin: str) -> tuple[str, str] | None:
    """Name or address, and sha256, of the single file that a checkpoint was converted from; None if it was not.

    Args:
        origin: where the checkpoint came from, as `bring` says.
    """
    found = _CONVERTED.match(origin)
    return None if found is None else (found[1], found[2])


@contextmanager
def sketched(recipe: Recipe) -> Iterator[Recipe]:
    """The recipe with local paths for as long as the context lasts, without fetching weights.

    Raises:
        ExciseError: as `bring`.
    """
    with tempfile.TemporaryDirectory(prefix="excise-") as scratch:
        model: dict[str, Any] = {}
        for key in CHECKPOINTS:
            path = getattr(recipe.model, key)
            if path is None or not _is_foreign(path):
                continue
            place = Path(scratch) / key
            if path.suffix == SINGLE_FILE:
                _sketch_single_file(recipe, f"model.{key}", path, place)
            else:
                from excise.sources.fetch import parse_uri, sketch_checkpoint

                sketch_checkpoint(parse_uri(f"model.{key}", str(hub_address(path))), place)
            model[key] = place
        yield _changed(recipe, model, _bring_tables(recipe)[0])


def _is_foreign(path: Path | None) -> bool:
    return path is not None and (hub_address(path) is not None or path.suffix == SINGLE_FILE)


def _changed(recipe: Recipe, model: dict[str, Any], tables: dict[str, Any]) -> Recipe:
    sections = {"model": recipe.model.model_copy(update=model), "prompts": recipe.prompts.model_copy(update=tables)}
    return recipe.model_copy(update=sections)


def _bring_tables(recipe: Recipe) -> tuple[dict[str, Any], dict[str, str]]:
    paths: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key in TABLES:
        if address := hub_address(getattr(recipe.prompts, key)):
            from excise.sources.fetch import (  # here: a job without an address needs no Hub client
                fetch_table,
                parse_uri,
            )

            name = f"prompts.{key}"
            fetched = fetch_table(name, parse_uri(name, address), recipe.prompts.column)
            paths[key], origins[name] = fetched.folder / fetched.files[0], fetched.uri.to_uri()
    return paths, origins


def _bring_checkpoint(recipe: Recipe, key: str, path: Path, target: Path) -> str:
    """Make ``target`` the checkpoint; returns where it came from."""
    if path.suffix == SINGLE_FILE:
        return _bring_single_file(recipe, key, path, target)
    from excise.sources.fetch import fetch_checkpoint, parse_uri

    fetched = fetch_checkpoint(parse_uri(key, str(hub_address(path))))
    origin = fetched.uri.to_uri()
    if not _is_there(target, origin):
        from excise.checkpoint.copying import copy_files

        unfinished = unfinished_folder(target)
        copy_files(fetched.folder, unfinished, fetched.files)
        _keep(unfinished, target, origin)
    return origin


def _bring_single_file(recipe: Recipe, key: str, path: Path, target: Path) -> str:
    from excise.checkpoint.single_file import convert
    from excise.sources.fetch import fetch_file, parse_uri

    name, origin = str(path), path.name
    if address := hub_address(path):
        fetched = fetch_file(parse_uri(key, address))
        path, origin = fetched.folder / fetched.files[0], fetched.uri.to_uri()
    if not path.is_file():
        raise ExciseError(f"{key}: {name}: no such file; correct the path")
    folder, source = _configuration(recipe, path)
    origin = f"{origin} (sha256 {sha256_file(path)}), converted by diffusers {version('diffusers')} "
    origin += f"with the configuration of {source}"
    if not _is_there(target, origin):
        converted = target.with_name(f".{target.name}.converted")
        convert(path, folder, converted)
        _keep(converted, target, origin)
    return origin


def _sketch_single_file(recipe: Recipe, key: str, path: Path, target: Path) -> None:
    """The folder that a single file would be converted into, of headers without weights."""
    from excise.checkpoint.single_file import sketch
    from excise.sources.fetch import parse_uri, sketch_file

    if address := hub_address(path):
        path = target.with_name(f"{target.name}{SINGLE_FILE}")
        sketch_file(parse_uri(key, address), path)
    if not path.is_file():
        raise ExciseError(f"{key}: {path}: no such file; correct the path")
    sketch(path, _configuration(recipe, path)[0], target)


def _configuration(recipe: Recipe, path: Path) -> tuple[Path, str]:
    """Folder of the configuration of a single file's components, and where that came from."""
    from excise.checkpoint.single_file import usual_configuration
    from excise.sources.fetch import fetch_checkpoint, parse_uri

    configuration = recipe.model.configuration
    described = hub_address(configuration) if configuration else f"hf://{usual_configuration(path)}"
    if described:
        found = fetch_checkpoint(parse_uri("model.configuration", described), weights=False)
        return found.folder, found.uri.to_uri()
    assert configuration is not None
    if not configuration.is_dir():
        raise ExciseError(f"model.configuration: {configuration}: no such folder; correct the path")
    return configuration, f"{configuration} (sha256 {hash_path(configuration)})"


def _note(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _state(target: Path) -> dict[str, list[int]]:
    """Size and time of change of every file: enough to see that nobody touched what was brought."""
    files = sorted(file for file in target.rglob("*") if file.is_file())
    return {file.relative_to(target).as_posix(): [(s := file.stat()).st_size, s.st_mtime_ns] for file in files}


def _is_there(target: Path, origin: str) -> bool:
    try:
        note = json.loads(_note(target).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(note == {"origin": origin, "files": _state(target)})


def _keep(unfinished: Path, target: Path, origin: str) -> None:
    """Give a finished folder its name, and note where it came from."""
    _note(target).unlink(missing_ok=True)
    put_folder(unfinished, target)
    write_json(_note(target), {"origin": origin, "files": _state(target)})
