"""What the server's own tests upload."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub.example import CARD, WEIGHTS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to upload: a card, a configuration, two files of weights, something in a folder of a folder."""
    source = tmp_path / "source"
    (source / "unet" / "deep").mkdir(parents=True)
    (source / "README.md").write_bytes(CARD)
    (source / "model_index.json").write_text("{}")
    (source / "unet" / "a.safetensors").write_bytes(WEIGHTS)
    (source / "unet" / "deep" / "b.safetensors").write_bytes(WEIGHTS[::-1])
    return source
