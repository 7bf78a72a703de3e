"""What every section of a recipe is made of: closed, frozen models and a few kinds of value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _written(path: Path) -> str:
    """A path as it was written: `Path` makes one slash of two."""
    return re.sub("^hf:/(?=[^/])", HUB, str(path))


HUB = "hf://"
Source = Annotated[Path, PlainSerializer(_written, when_used="json")]
"""A path, or an address on the Hugging Face Hub: ``hf://ORG/NAME@REVISION``, ``hf://datasets/ORG/NAME@REVISION/FILE``.
The revision is a branch, a tag or a commit; without one it is the default branch, as it is at the start of the run."""


def hub_address(path: Path | None) -> str | None:
    """The ``hf://`` address that a recipe gives instead of a path; None if it is a path."""
    return text if path and (text := _written(path)).startswith(HUB) else None


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to keys that it does not know.

    Numbers are numbers: ``"64"``, ``64.0`` and ``true`` are no whole numbers, ``"false"`` and ``0`` are not false. TOML
    has neither paths nor tuples: texts and lists stand for them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _from_toml(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        kinds = {field.alias or name: field.annotation for name, field in cls.model_fields.items()}
        return {key: _read(value, _holds_paths(kinds.get(key))) for key, value in values.items()}


def _holds_paths(annotation: Any) -> bool:
    return annotation is Path or any(map(_holds_paths, get_args(annotation)))


def _read(value: Any, path: bool) -> Any:
    if isinstance(value, list):
        return tuple(_read(item, path) for item in value)
    return Path(value) if path and isinstance(value, str) else value
