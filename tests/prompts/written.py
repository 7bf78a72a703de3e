"""Prompt tables that a test writes."""

from __future__ import annotations

from pathlib import Path


def written(folder: Path, text: str, name: str = "table.csv") -> Path:
    """A table of this text; by default a CSV."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
