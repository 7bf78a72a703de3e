"""Releases by a forger who has excise and its source, but neither key nor scruples: each is one function.

A forgery starts from a copy of an honest, unsigned release that verifies, and leaves one whose record, card, sizes and
hashes fit each other wherever the forger could make them fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scene:
    """Where a forger works."""

    release: Path
    """To be forged."""
    base: Path
    """To be read: the forger has it too."""
    report: Path
    """A page of an honest run, to be read."""


@dataclass(frozen=True)
class Forgery:
    """One lie, and what must be said of it."""

    make: Callable[[Scene], object]
    says: str
    """Words of a fault that must be found."""
    beside_base: bool
    """Whether it takes the base to find it."""

    @property
    def name(self) -> str:
        return self.make.__name__


FORGERIES: list[Forgery] = []


def forgery(says: str, beside_base: bool = False) -> Callable[[Callable[[Scene], object]], Callable[[Scene], object]]:
    """Put a function on the list."""

    def listed(make: Callable[[Scene], object]) -> Callable[[Scene], object]:
        FORGERIES.append(Forgery(make, says, beside_base))
        return make

    return listed


def each(says: str, beside_base: bool = False, **makes: Callable[[Scene], object]) -> None:
    """Put several on the list, each under its key, of which the same is said."""
    for name, make in makes.items():
        make.__name__ = name
        forgery(says, beside_base)(make)
