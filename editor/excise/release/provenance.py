"""``EXCISE.json``: where a release comes from and what it is, in one file that has the hashes of all others.

Its last key, ``sha256``, is that of the file with the key's value empty, so that no byte of it changes unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from huggingface_hub import parse_hf_uri
from pydantic import AfterValidator, Field, ValidationError

from excise.edits.edit_record import ChangedTensor
from excise.errors import ExciseError
from excise.files.models import Commit, Count, Hash, Line, Part, RepoId
from excise.recipe import Recipe, Release
from excise.release.contents import LIMITS
from excise.release.licences import Licence
from excise.release.names import OWN, Kind, is_plain
from excise.release.names import RECORD as RECORD
from excise.release.names import SIGNATURE as SIGNATURE
from excise.verdict.models import Verdict


def _plain(name: str) -> str:
    """A name inside the folder, which can be no other file's, and no file's elsewhere."""
    if not all(map(is_plain, name.split("/"))):
        raise ValueError(f"{name!a} is not a plain name of a file in the folder")
    return name


Name = Annotated[str, AfterValidator(_plain)]


class File(Part):
    """A file of the release."""

    size: Count
    sha256: Hash


class Program(Part):
    """What made the run."""

    version: Annotated[str, Field(pattern=r"^\d{1,4}(\.\d{1,4}){0,3}((a|b|rc|\.dev|\.post)\d{1,4}){0,3}$")]
    code: Hash
    """Of the code of all stages, as it was when they ran."""


class Base(Part):
    """What was edited; None for what is not known."""

    name: Line
    repo: RepoId | None
    revision: Commit | None
    files: dict[Name, Hash]


class Edited(Part):
    """What was done to it."""

    method: str
    sites: str
    tensors: dict[str, ChangedTensor]
    changed: list[Name]
    files: dict[Name, Hash]
    """Every file that comes from the base, as the edit left it."""


class Prompts(Part):
    """Hashes of the tables; the memorized prompts of each set only where the recipe allows it."""

    tables: dict[str, Hash]
    texts: dict[str, list[str]] | None


class Publishing(Part):
    """What the recipe asks of the repository."""

    visibility: Literal["private", "public"]
    gated: Literal["no", "auto", "manual"]
    tag: Annotated[str, Field(pattern=Release.model_fields["tag"].metadata[0].pattern)]


class Record(Part):
    """All of it."""

    format: Literal[2] = 2
    excise: Program
    libraries: dict[str, str]
    base: Base
    licence: Licence
    edit: Edited
    prompts: Prompts
    seeds: dict[str, int]
    sources: dict[str, str]
    recipe: str
    """Word for word."""
    publish: Publishing
    signed: bool
    verdict: Verdict
    files: dict[Name, File]
    """Every file of the release but for this one and the signature."""
    sha256: str = ""

    def own(self) -> set[str]:
        """Listed files that do not come from the base: excise's, and texts of the licence that the recipe gave."""
        return self.files.keys() & (OWN.keys() - {RECORD, SIGNATURE} | set(self.licence.texts) - self.base.files.keys())

    @property
    def added(self) -> list[str]:
        """Every file of the release that does not come from the base, sorted."""
        return sorted(self.own() | {RECORD} | ({SIGNATURE} if self.signed else set()))


def base_of(recipe: Recipe, sources: Mapping[str, str], files: dict[str, str]) -> Base:
    """What was edited: where it came from, if that was the Hub, else what the recipe says of it.

    Args:
        recipe: the job's.
        sources: where what the recipe names elsewhere came from, by key.
        files: sha256 of each file that goes along.
    """
    source = sources.get("model.path", "")
    if source.startswith("hf://") and " " not in source:
        uri = parse_hf_uri(source)
        return Base(name=uri.id.rpartition("/")[2], repo=uri.id, revision=uri.revision, files=files)
    name = re.sub(r"[^A-Za-z0-9 ._+()-]", "_", recipe.model.path.resolve().name)
    return Base(name=name, repo=recipe.release.base, revision=recipe.release.base_revision, files=files)


def write_record(folder: Path, record: Record) -> None:
    """Write the record; NaN is refused, as JSON has none."""
    content = record.model_dump(mode="json")
    digest = hashlib.sha256(_text(content | {"sha256": ""}).encode()).hexdigest()
    (folder / RECORD).write_text(_text(content | {"sha256": digest}), encoding="utf-8")


def read_record(folder: Path) -> Record:
    """The record of a release.

    Raises:
        ExciseError: there is none, or it is not as it was written.
    """
    path = folder / RECORD
    if path.is_file() and path.stat().st_size > LIMITS[Kind.RECORD]:
        raise ExciseError(f"{path}: is larger than any record is; fetch the release again")
    try:
        text = path.read_bytes().decode("utf-8")
        content = json.loads(text)
        record = Record.model_validate_json(text)
        digest, empty = content["sha256"], _text(content | {"sha256": ""})
    except OSError as error:
        raise ExciseError(f"{path}: cannot be read ({error.strerror}); this is not a release") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ExciseError(
            f"{path}: altered, or of another version of excise: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExciseError(f"{path}: altered or broken: {error}; fetch the release again") from error
    if text != _text(content) or digest != hashlib.sha256(empty.encode()).hexdigest():
        raise ExciseError(f"{path}: altered: it does not have the sha256 that it states; fetch the release again")
    return record


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
