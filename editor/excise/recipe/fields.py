"""What every section of a recipe is made of: closed, frozen models and a few kinds of value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _written(path: Path) -> str:
    """A path as it was written: `Path` makes one slash of two."""
    return re.sub("^hf:/(?=[^/])", HUB, str(path))


HUB = "hf://"
File = Annotated[Path, Field(strict=False)]
"""A path; a recipe writes it as text."""
Source = Annotated[File, PlainSerializer(_written, when_used="json")]
"""A path, or an address on the Hugging Face Hub: ``hf://ORG/NAME@REVISION``, ``hf://datasets/ORG/NAME@REVISION/FILE``.
The revision is a branch, a tag or a commit; without one it is the default branch, as it is at the start of the run."""


def hub_address(path: Path | None) -> str | None:
    """The ``hf://`` address that a recipe gives instead of a path; None if it is a path."""
    return text if path and (text := _written(path)).startswith(HUB) else None


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to keys that it does not know.

    Numbers are numbers: ``"64"``, ``64.0`` and ``true`` are no whole numbers, ``"false"`` and ``0`` are not false.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
