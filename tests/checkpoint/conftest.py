"""A checkpoint's folder that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def base(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, named ``base``, alone in ``tmp_path``."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
