"""What a search's folder says of itself: what it was made of, and what was found in each model."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from excise.detect.triggers import Found
from excise.errors import ExciseError
from excise.files.models import Part
from excise.files.writing import write_text
from excise.verdict.models import Usefulness


class SearchRecord(Part):
    """``search.json``."""

    checkpoint: str
    """As it was given, or its address at one commit."""
    made_of: dict[str, str]
    """Hash of each thing that what is found depends on; a folder is gone on with only if all are the same."""
    known: tuple[str, ...] = ()
    """Names of the training images that are known."""
    models: dict[str, Found] = Field(default={})
    """By ``base``, ``edited`` and ``twin``; empty while the search goes on."""
    still: dict[str, int] = Field(default={})
    """Of the pictures that were found in the base, how many another model draws when it is asked the same prompts."""
    useful: dict[str, dict[str, Usefulness]] = Field(default={})
    """By model, and by table of prompts: ``ordinary``, ``neighbours``."""

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


def read_search(path: Path) -> SearchRecord | None:
    """The record of a folder; None where there is none.

    Raises:
        ExciseError: the file is none.
    """
    try:
        return SearchRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise ExciseError(f"{path}: is not the record of a search; choose another --out, or give --fresh") from error


def check_same(path: Path, before: SearchRecord, now: SearchRecord) -> None:
    """Refuse to go on with what was made of something else; a model may come to it, or be left out.

    Raises:
        ExciseError: names what differs.
    """
    keys = sorted(key for key in before.made_of.keys() & now.made_of.keys() if before.made_of[key] != now.made_of[key])
    if keys:
        raise ExciseError(
            f"{path.parent}: holds a search of {before.checkpoint} with other {', '.join(keys)}; choose another folder "
            "with --out, or search anew with --fresh"
        )
