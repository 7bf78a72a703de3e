"""A signed release of the tiny checkpoint to read, and copies of it to change."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import file_download
from huggingface_hub.utils import _http

from excise.release import standing
from tests.jobs import excise
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


@pytest.fixture(scope="session")
def open_release(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that is to be public, so that every kind of request is made; not to be changed."""
    folder = tmp_path_factory.mktemp("public")
    run = shutil.copytree(released / "run", folder / "run")
    text = (released / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(text.replace('visibility = "private"', 'visibility = "public"'))
    assert excise("run", folder / "recipe.toml", "--out", run).exit_code == 0
    shutil.copyfile(released / "key.pub", folder / "key.pub")
    return run / "release"


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client, and the last look, try again at once."""
    hurried = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: None})
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", hurried)
    monkeypatch.setattr(standing, "PAUSES", (0.0, 0.0))
