"""The metadata at the head of a model card."""

from __future__ import annotations

import re
from typing import Any

import yaml

RELATIONS = ("adapter", "merge", "quantized", "finetune")


def read_card(content: str) -> dict[str, Any] | None:
    """The metadata; None if there is none.

    Raises:
        yaml.YAMLError: it is not YAML.
        TypeError: it is YAML, but not a mapping.
    """
    head = re.match(r"\s*---\r?\n(.*?)\r?\n?---(\r?\n|$)", content, re.DOTALL)
    if head is None:
        return None
    data = yaml.safe_load(head[1])
    if data is None:
        return None
    if not isinstance(data, dict):
        raise TypeError("metadata must be an object")
    return data


def check_card(content: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about a card."""
    try:
        data = read_card(content)
    except (yaml.YAMLError, TypeError) as error:
        return [f"YAML: {error}"], []
    if data is None:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = []
    if not _is_text(data.get("license", "")):
        errors.append('"license" must be a string or an array of strings')
    if not _is_text(data.get("base_model", "")):
        errors.append('"base_model" must be a string or an array of strings')
    if not isinstance(data.get("tags", []), list) or not _is_text(data.get("tags", [])):
        errors.append('"tags" must be an array of strings')
    if data.get("base_model_relation", RELATIONS[0]) not in RELATIONS:
        errors.append(f'"base_model_relation" must be one of {", ".join(RELATIONS)}')
    return errors, []


def card_tags(data: dict[str, Any]) -> list[str]:
    """The tags that the Hub shows for a card."""
    found = [str(tag) for tag in data.get("tags", [])]
    for key in ("license", "base_model"):
        values = data.get(key, [])
        found += [f"{key}:{value}" for value in ([values] if isinstance(values, str) else values)]
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(part, str) for part in value))
