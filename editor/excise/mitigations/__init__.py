"""What a user gets without an edit: ways to draw that avoid a memorized image, one file each, at a cost for each image.

A mitigation is a module with ``draw(pipeline, texts, seeds, settings) -> Drawn``. What it does for an image depends on
its prompt and seed alone, never on the others of the batch beyond rounding.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from excise.mitigations.base import Drawn, Mitigating, Mitigation

__all__ = ["MITIGATIONS", "Drawn", "Mitigating", "Mitigation", "mitigation"]

MITIGATIONS = {
    "embedding": "excise.mitigations.embedding",
    "tokens": "excise.mitigations.tokens",
}
"""Mitigation by its name, to its module."""


def mitigation(name: str) -> Mitigation:
    """The mitigation of a name.

    Raises:
        KeyError: there is none of that name.
    """
    return cast(Mitigation, import_module(MITIGATIONS[name]))
