"""The testbed's own materials, read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from excise.testbed.world.stream import World, read_world

MATERIALS = Path("checkpoints/testbed/materials")
ICONS, PHOTOGRAPHS = MATERIALS / "icons", MATERIALS / "photographs"


@cache
def world() -> World:
    """All of it, planted photographs included."""
    return read_world(ICONS, PHOTOGRAPHS)
