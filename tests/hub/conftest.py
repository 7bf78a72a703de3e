"""A Hub with users, and the real client with Xet switched off and nothing remembered from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from tests.hub.server import Hub


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
def alice(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_alice")


@pytest.fixture
def bob(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_bob")


@pytest.fixture
def nobody(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)
