"""The published schema is that of the models."""

from __future__ import annotations

from pathlib import Path

from excise.verdict.models import Verdict
from excise.verdict.schema import schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "verdict.schema.json"
TABLES = Path(__file__).parents[2] / "docs" / "verdict.md"


def test_the_published_schema_is_up_to_date() -> None:
    command = "python -m excise.verdict.schema > docs/verdict.schema.json"
    assert PUBLISHED.read_text(encoding="utf-8") == schema(), f"run {command}"


def test_every_top_level_field_is_explained() -> None:
    text = TABLES.read_text(encoding="utf-8")
    assert [name for name in Verdict.model_fields if f"`{name}`" not in text] == []
