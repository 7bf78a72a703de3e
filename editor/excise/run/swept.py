"""``sweep.json``: what a sweep found, a setting at a time."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from excise.files.models import Hash, Part
from excise.verdict.models import ModelResult, Threshold


class SweptSetting(Part):
    """One edit, cross-validated."""

    name: str
    sites: str
    """Family of sites."""
    method: str
    control: bool
    """Whether it is there to be compared with, and never chosen."""
    settings: dict[str, Any]
    """The sections ``locate`` and ``edit`` of a recipe that makes it."""
    result: ModelResult | None
    """In ``held_out_…`` the prompts that a fold left out, in ``located_…`` some that it was fitted on. None where the
    edit could not be made."""
    refused: str | None
    """Why it could not."""
    seconds: Annotated[float, Field(ge=0.0)]


class Swept(Part):
    """All of it."""

    basis: Hash
    """Of all that the numbers depend on beside a setting: what is found for another basis is not kept."""
    kinds: tuple[str, ...]
    """Kinds of memorized prompt among the located ones."""
    threshold: Threshold
    base: ModelResult
    settings: tuple[SweptSetting, ...]
