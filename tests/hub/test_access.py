"""Who sees what, and who writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
)

from tests.hub.example import status_of
from tests.hub.server import Hub


def test_who_sees_and_writes_what(hub: Hub, alice: HfApi, bob: HfApi, nobody: HfApi, tmp_path: Path) -> None:
    hub.add_repo("acme/hidden", {"a.txt": b"1"}, private=True)
    hub.add_repo("acme/gated", {"a.txt": b"1"}, gated="auto")
    rita = HfApi(endpoint=hub.endpoint, token="hf_rita")
    assert rita.whoami()["auth"]["accessToken"]["role"] == "read"
    for api, status in ((bob, 404), (nobody, 401)):
        with pytest.raises(RepositoryNotFoundError) as hidden:
            api.model_info("acme/hidden")
        assert status_of(hidden) == status
        with pytest.raises(GatedRepoError):
            api.hf_hub_download("acme/gated", "a.txt", local_dir=tmp_path / "refused")
        with pytest.raises(GatedRepoError):
            api.auth_check("acme/gated")
    assert nobody.model_info("acme/gated").gated == "auto"
    hub.grant("acme/gated", "bob")
    for api in (bob, rita):
        assert Path(api.hf_hub_download("acme/gated", "a.txt", local_dir=tmp_path / "copy")).read_bytes() == b"1"
    assert rita.model_info("acme/hidden", expand=["private", "sha"]).private
    add = [CommitOperationAdd("a.txt", b"2")]
    for api in (rita, bob):
        with pytest.raises(HfHubHTTPError) as refused:
            api.create_commit("acme/gated", add, commit_message="x")
        assert status_of(refused) == 403
        with pytest.raises(HfHubHTTPError) as refused:
            api.create_repo("acme/other")
        assert status_of(refused) == 403
    assert bob.create_commit("acme/gated", add, commit_message="x", create_pr=True).pr_num == 1
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(endpoint=hub.endpoint, token="hf_unknown").whoami()
