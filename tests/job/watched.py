"""What a sweep reads and draws, seen at the two places through which it must go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from excise.job import crossed
from excise.measures import replication


@dataclass
class Watched:
    """Prompts asked for, seeds drawn with, and images opened."""

    asked: set[str] = field(default_factory=set)
    seeds: set[int] = field(default_factory=set)
    opened: set[Path] = field(default_factory=set)

    @classmethod
    def sweep(cls, monkeypatch: pytest.MonkeyPatch) -> Watched:
        """Watch until the test ends."""
        seen = cls()
        real, read = crossed.replay, replication._read

        def watched(pipeline: object, prompts: list[str], drawn: Any, *rest: Any) -> object:
            seen.asked.update(prompts)
            seen.seeds.update(drawn)
            return real(pipeline, prompts, drawn, *rest)

        def reading(path: Path, *rest: Any) -> Any:
            seen.opened.add(path)
            return read(path, *rest)

        monkeypatch.setattr(crossed, "replay", watched)
        monkeypatch.setattr(replication, "_read", reading)
        return seen
