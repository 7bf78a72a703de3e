"""What a forger would do to a release, who knows the format and has not the key; and what verifying finds then."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from excise.edits.edit_record import ChangedTensor, weights_changed
from excise.errors import ExciseError
from excise.recipe import Recipe
from excise.release.names import RECIPE
from excise.release.pages import pages as written
from excise.release.provenance import RECORD, File, Record, read_record, write_record
from excise.release.verify import verify

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def found(release: Path, base: Path | None = None, key: Path | None = None) -> list[str]:
    """Every fault that verifying finds."""
    return [fault for finding in verify(release, key, base) for fault in finding.faults]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def forge(release: Path, change: Callable[[dict[str, Any]], object], pages: bool = True) -> None:
    """Change the record, and make card and notice, sizes and hashes of all files, and its own, consistent again.

    A record from which no card can be written keeps the card that is there; so does one with ``pages`` False.
    """
    content = read_record(release).model_dump()
    change(content)
    record = Record.model_validate(content)
    if pages:
        rewrite_pages(release, record)
    listed = {name: _file(release / name) for name in record.files}
    write_record(release, record.model_copy(update={"files": listed}))


def rewrite_pages(release: Path, record: Record) -> None:
    """Card and notice as excise itself would write them from a record."""
    with suppress(ArithmeticError, ExciseError, LookupError, TypeError, ValueError):
        recipe = Recipe.model_validate(tomllib.loads(record.recipe))
        for name, text in written(release, record, recipe).items():
            (release / name).write_text(text, encoding="utf-8")


def _file(path: Path) -> File:
    data = path.read_bytes()
    return File(size=len(data), sha256=sha256(data))


def add(release: Path, name: str, data: bytes) -> None:
    """Put a file there and list it."""
    path = release / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    forge(release, lambda record: record["files"].update({name: {"size": 0, "sha256": "0" * 64}}))


def add_to_model(release: Path, name: str, data: bytes) -> None:
    """Put a file there and say that it is the base's, in every list."""

    def listed(record: dict[str, Any]) -> None:
        for files in (record["edit"]["files"], record["base"]["files"]):
            files[name] = sha256(data)

    (release / name).parent.mkdir(parents=True, exist_ok=True)
    (release / name).write_bytes(data)
    forge(release, lambda record: (listed(record), record["files"].update({name: {"size": 0, "sha256": "0" * 64}})))


def remove(release: Path, name: str) -> None:
    """Take a file of the model away, out of every list."""
    path = release / name
    path.unlink()
    if not any(path.parent.iterdir()):
        path.parent.rmdir()
    lists = (lambda r: r["files"], lambda r: r["edit"]["files"], lambda r: r["base"]["files"])
    forge(release, lambda record: [of(record).pop(name, None) for of in lists])


def change_recipe(release: Path, old: str, new: str) -> None:
    """Another recipe, in the record and beside it."""
    path = release / RECIPE
    text = path.read_text(encoding="utf-8")
    assert old in text, text
    path.write_text(text.replace(old, new), encoding="utf-8")
    forge(release, lambda record: record.update(recipe=text.replace(old, new)))


def recounted(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    """A change of a record's tensors, with the number of changed weights that the verdict states made to fit."""

    def both(record: dict[str, Any]) -> None:
        change(record)
        tensors = {name: ChangedTensor.model_validate(found) for name, found in record["edit"]["tensors"].items()}
        record["verdict"]["models"]["edited"]["weights_changed"] = weights_changed(tensors)

    return both


def content_of(release: Path) -> dict[str, Any]:
    """The record as plain JSON."""
    content: dict[str, Any] = json.loads((release / RECORD).read_text(encoding="utf-8"))
    return content


def write_content(release: Path, content: dict[str, Any]) -> None:
    """Write a record that may be of any shape, under a sha256 that is right."""
    empty = json.dumps(content | {"sha256": ""}, indent=1, ensure_ascii=False) + "\n"  # once: it is slow
    stated = '\n "sha256": "'  # at the top: what lies deeper is indented further, and no string holds a newline
    before, _, after = empty.partition(f'{stated}"')
    (release / RECORD).write_text(f'{before}{stated}{sha256(empty.encode())}"{after}', encoding="utf-8")
