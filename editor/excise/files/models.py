"""What every JSON file of ours is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""A sha256 in hex."""
Count = Annotated[int, Field(ge=0)]
Line = Annotated[str, Field(max_length=200, pattern=r"^[^\p{C}\p{Zl}\p{Zp}<>\[\]|`\\]+$")]
"""A name that stands in a card as it is: one line, at most 200 characters, none that Markdown or HTML would take for
its own, none that is not seen."""
RepoId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")]
"""A repository on the Hub: ``ORG/NAME``."""
LicenceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]*$")]
"""As the Hub names licences."""
_LINK = r"""^(https?://[^\s\p{C}<>()\[\]|`"'\\]+|[A-Za-z0-9][A-Za-z0-9._/-]*)$"""
Link = Annotated[str, Field(max_length=500, pattern=_LINK)]
"""An address on the web, or a file's name."""
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
"""Full hash of a commit."""


class Part(BaseModel):
    """A part of a file: immutable, of known fields and types; no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
