"""What of a recipe and of its prompt sets is read while some code runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from excise.prompts.sets import PromptSets
from excise.recipe import Recipe, Section


@dataclass
class Reads:
    """Keys of the recipe, leaves alone (``locate.calls``), and fields of the prompt sets."""

    keys: set[str] = field(default_factory=set)
    sets: set[str] = field(default_factory=set)


def leaves(section: Section, prefix: str = "") -> dict[str, Any]:
    """Every key of a recipe or section that holds no section, with its value."""
    found: dict[str, Any] = {}
    for name, info in type(section).model_fields.items():
        key, value = prefix + (info.alias or name), object.__getattribute__(section, name)
        found |= leaves(value, f"{key}.") if isinstance(value, Section) else {key: value}
    return found


def _prefixes(section: Section, prefix: str = "") -> dict[int, str]:
    found = {id(section): prefix}
    for name, info in type(section).model_fields.items():
        value = object.__getattribute__(section, name)
        if isinstance(value, Section):
            found |= _prefixes(value, f"{prefix}{info.alias or name}.")
    return found


@contextmanager
def traced(recipe: Recipe, sets: PromptSets) -> Iterator[Reads]:
    """Takes note of every key of this very recipe, and every field of these very sets, that is read in the block."""
    reads, prefixes = Reads(), _prefixes(recipe)

    def read_key(self: Section, name: str) -> Any:
        value = object.__getattribute__(self, name)
        prefix = prefixes.get(id(self))
        if prefix is None:
            return value
        info = type(self).model_fields.get(name)
        if info is not None and not isinstance(value, Section):
            reads.keys.add(prefix + (info.alias or name))
        return _dumping(self, prefix, value) if name == "model_dump" else value

    def _dumping(section: Section, prefix: str, dump: Callable[..., Any]) -> Callable[..., Any]:
        def dumped(**options: Any) -> Any:
            chosen = set(type(section).model_fields) & set(options.get("include") or type(section).model_fields)
            for name in chosen - set(options.get("exclude") or ()):
                value, info = object.__getattribute__(section, name), type(section).model_fields[name]
                key = prefix + (info.alias or name)
                reads.keys.update(leaves(value, f"{key}.") if isinstance(value, Section) else {key})
            return dump(**options)

        return dumped

    def read_set(self: PromptSets, name: str) -> Any:
        if self is sets and name in {found.name for found in fields(PromptSets)}:
            reads.sets.add(name)
        return object.__getattribute__(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Section, "__getattribute__", read_key, raising=False)
        patch.setattr(PromptSets, "__getattribute__", read_set, raising=False)
        yield reads
