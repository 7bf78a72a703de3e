"""What travels: large files and small ones, in parts, and none twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, HfFileSystem

from tests.hub.example import CARD, WEIGHTS
from tests.hub.server import Hub


def test_large_files_are_read_without_the_token(hub: Hub, alice: HfApi, tmp_path: Path) -> None:
    hub.add_repo("acme/base", {"w.safetensors": WEIGHTS, "a.json": b"{}"}, private=True)
    alice.snapshot_download("acme/base", local_dir=tmp_path / "copy")
    files = HfFileSystem(endpoint=hub.endpoint, token="hf_alice", skip_instance_cache=True)
    with files.open("acme/base/w.safetensors", "rb", block_size=1000) as file:
        file.seek(70_000)
        assert file.read(300) == WEIGHTS[70_000:70_300]
    with files.open("acme/base/a.json", "rb") as file:
        assert file.read() == b"{}"
    read = [request for request in hub.requests if request.endpoint == "cdn"]
    assert [request.status for request in read] == [200, 206]
    assert all("authorization" not in request.headers for request in read)
    assert all(request.user == "alice" for request in hub.requests if request.endpoint.startswith("resolve"))


def test_a_second_push_brings_only_what_is_new(hub: Hub, alice: HfApi, folder: Path) -> None:
    alice.create_repo("alice/model", repo_type="dataset")

    def push() -> str:
        return alice.upload_folder(repo_id="alice/model", repo_type="dataset", folder_path=folder).oid

    first = push()
    assert hub.count("lfs-put") == 2
    assert push() == first, "nothing has changed, so no commit is made"
    (folder / "README.md").write_bytes(CARD + b"More.\n")
    assert push() == hub.head("alice/model", kind="dataset") != first
    assert hub.count("lfs-put") == 2 and hub.count("commit") == 2
    assert alice.dataset_info("alice/model").tags == ["test", "license:mit"]


def test_a_large_file_in_parts(hub: Hub, alice: HfApi) -> None:
    hub.multipart_above, hub.part_size = 500_000, 200_000
    alice.create_repo("alice/model")
    alice.upload_file(repo_id="alice/model", path_or_fileobj=WEIGHTS, path_in_repo="w.safetensors")
    assert (hub.count("lfs-part"), hub.count("lfs-complete"), hub.count("lfs-put")) == (6, 1, 0)
    assert hub.files("alice/model")["w.safetensors"] == WEIGHTS
    assert not list(hub.blobs.path("x").parent.parent.glob("incoming/*"))


def test_bytes_that_were_not_announced_are_refused(hub: Hub, alice: HfApi) -> None:
    alice.create_repo("alice/model")
    oid = hashlib.sha256(WEIGHTS).hexdigest()
    asked = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": len(WEIGHTS)}]}
    address = f"{hub.endpoint}/alice/model.git/info/lfs/objects/batch"
    answer = httpx2.post(address, json=asked, headers={"Authorization": "Bearer hf_alice"}).json()
    actions = answer["objects"][0]["actions"]
    assert httpx2.put(actions["upload"]["href"], content=WEIGHTS[1:]).status_code == 400
    assert httpx2.put(f"{hub.storage}/lfs/guess", content=WEIGHTS).status_code == 403
    operations = [{"key": "header", "value": {"summary": "s"}}, {"key": "lfsFile", "value": {"path": "w", "oid": oid}}]
    lines = "\n".join(json.dumps(operation) for operation in operations)
    commit, headers = f"{hub.endpoint}/api/models/alice/model/commit/main", {"Authorization": "Bearer hf_alice"}
    assert "does not exist" in httpx2.post(commit, content=lines, headers=headers).json()["error"]
    assert httpx2.put(actions["upload"]["href"], content=WEIGHTS).status_code == 200
    assert httpx2.post(commit, content=lines, headers=headers).status_code == 200


@pytest.mark.parametrize("head", ["license: [", "license: 3", "- a list", "base_model_relation: twin"])
def test_a_faulty_card_is_refused_before_anything_travels(hub: Hub, alice: HfApi, head: str) -> None:
    hub.add_repo("acme/model")
    card = CommitOperationAdd("README.md", f"---\n{head}\n---\n".encode())
    with pytest.raises(ValueError, match="Invalid metadata"):
        alice.create_commit("acme/model", [card], commit_message="x")
    assert hub.count("preupload", "commit") == 0
