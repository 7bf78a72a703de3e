"""What every JSON file of ours is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""A sha256 in hex."""
Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of a file: immutable, of known fields and types; no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
