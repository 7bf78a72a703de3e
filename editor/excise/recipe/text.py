"""A recipe as text."""

from __future__ import annotations

from typing import Any

import tomli_w

from excise.recipe import Recipe


def to_toml(recipe: Recipe) -> str:
    """A recipe as TOML that `load_recipe` reads back as the same recipe; keys at their defaults are left out."""
    whole = recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return tomli_w.dumps({key: _written(key, value) for key, value in whole.items()})


def _written(section: str, value: Any) -> Any:
    """TOML has no null: a waived check is written as the word that waives it, and any other None left out."""
    if not isinstance(value, dict):
        return value
    if section == "verdict":
        return {key: "unchecked" if limit is None else limit for key, limit in value.items()}
    return {key: _written("", part) for key, part in value.items() if part is not None}
