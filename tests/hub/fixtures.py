"""A Hub with users, and the real client with Xet switched off and nothing remembered from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, HfFileSystem, constants
from huggingface_hub.utils import disable_progress_bars

from tests.hub.server import Hub

TEMPLATE = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """alice and rita are of acme, rita's token only reads; bob is a stranger."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with Hub(tmp_path / "hub") as hub:
        hub.add_user("alice", "hf_alice", orgs=("acme",))
        hub.add_user("rita", "hf_rita", role="read", orgs=("acme",))
        hub.add_user("bob", "hf_bob")
        yield hub


@pytest.fixture
def at_home(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process as one that was started with the test's Hub in its environment and alice's token; its cache."""
    home = tmp_path / "home"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + TEMPLATE)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    disable_progress_bars()  # the variable for it was read when the client was imported
    HfFileSystem.clear_instance_cache()
    return home


@pytest.fixture
def alice(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_alice")


@pytest.fixture
def bob(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_bob")


@pytest.fixture
def nobody(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)
