"""A signed release of the tiny checkpoint to read, and copies of it to change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.release.forging import forge, found


@pytest.fixture
def release(released: Path) -> Path:
    """The release itself; not to be changed."""
    return released / "run" / "release"


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    return shutil.copytree(release, tmp_path / "release")


@pytest.fixture
def unsigned(copy: Path) -> Path:
    """What a forger without the key is left with."""
    (copy / "model.sig").unlink()
    forge(copy, lambda record: record.update(signed=False))
    assert found(copy) == []
    return copy
