"""Attacks, one file each: ways to make a model replicate an image; see `excise.attacks.base` for what one is."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from excise.attacks.base import Attack, Budget, Found, Target, Trigger

__all__ = ["ATTACKS", "Attack", "Budget", "Found", "Target", "Trigger", "attack"]

ATTACKS = {
    "replay": "excise.attacks.replay",
    "embedding": "excise.attacks.embedding",
    "prompt": "excise.attacks.prompt",
    "relearn": "excise.attacks.relearn",
    "revive": "excise.attacks.revive",
    "samplers": "excise.attacks.samplers",
}
"""Attack by its name in recipes and folders, to its module. Names, not modules: what a stage's result depends on is the
code of the attacks that were made, not of all."""


def attack(name: str) -> Attack:
    """The attack of a name.

    Raises:
        KeyError: there is none of that name.
    """
    return cast(Attack, import_module(ATTACKS[name]))
