"""A signed release of the tiny checkpoint to read, and copies of it to change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.release.forging import change_recipe, forge, found


@pytest.fixture
def release(released: Path) -> Path:
    """The release itself; not to be changed."""
    return released / "run" / "release"


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    return shutil.copytree(release, tmp_path / "release")


@pytest.fixture(scope="session")
def stripped(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a forger without the key is left with: the release with neither signature nor key in its recipe. To read."""
    release = shutil.copytree(released / "run" / "release", tmp_path_factory.mktemp("stripped") / "release")
    (release / "model.sig").unlink()
    forge(release, lambda record: record.update(signed=False))
    change_recipe(release, f'key = "{released / "key.pem"}"\n', "")
    assert found(release, released / "base") == []
    return release


@pytest.fixture
def unsigned(stripped: Path, tmp_path: Path) -> Path:
    """A copy of it, to forge."""
    return shutil.copytree(stripped, tmp_path / "release")
