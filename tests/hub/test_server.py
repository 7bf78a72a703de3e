"""The real client against the server: what it sends is understood, and what it is told it understands."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from huggingface_hub import HfApi, RepoFolder

from tests.hub.example import WEIGHTS, additions, contents
from tests.hub.server import Hub


def test_a_release_from_private_repository_to_tag(hub: Hub, alice: HfApi, folder: Path, tmp_path: Path) -> None:
    assert alice.create_repo("acme/model", private=True).repo_id == "acme/model"
    start = hub.head("acme/model")
    made = alice.create_commit(
        "acme/model", additions(folder), commit_message="Release", create_pr=True, parent_commit=start
    )
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert hub.head("acme/model") == start and hub.head("acme/model", "refs/pr/1") == made.oid
    listed = alice.list_repo_tree("acme/model", recursive=True, revision="refs/pr/1")
    hashes = {file.path: file.lfs.sha256 for file in listed if not isinstance(file, RepoFolder) and file.lfs}
    assert hashes["unet/a.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest() and len(hashes) == 2
    assert alice.comment_discussion("acme/model", 1, "checked").content == "checked"
    alice.merge_pull_request("acme/model", 1)
    details = alice.get_discussion_details("acme/model", 1)
    assert [event.type for event in details.events] == ["comment", "commit", "comment", "status-change"]
    assert details.status == "merged" and details.merge_commit_oid == hub.head("acme/model")
    assert "+license: mit" in str(details.diff)
    alice.create_tag("acme/model", tag="v1", revision=details.merge_commit_oid)
    alice.update_repo_settings("acme/model", private=False)
    copy = Path(alice.snapshot_download("acme/model", revision="v1", local_dir=tmp_path / "copy"))
    assert contents(copy) == hub.files("acme/model")
    assert contents(copy).keys() == contents(folder).keys() | {".gitattributes"}
    assert not alice.verify_repo_checksums("acme/model", local_dir=copy).mismatches
    assert [commit.title for commit in alice.list_repo_commits("acme/model")] == ["Release (#1)", "initial commit"]


def test_a_process_of_its_own(tmp_path: Path) -> None:
    """The server run by hand, and a client that has Xet switched off by its environment."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.hub.server", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        endpoint = server.stdout.readline().split()[0]
        script = (
            "from huggingface_hub import HfApi; api = HfApi(); api.create_repo('acme/model'); "
            "api.upload_file(repo_id='acme/model', path_or_fileobj=b'1' * 9, path_in_repo='w.safetensors')"
        )
        settings = {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_alice", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        subprocess.run([sys.executable, "-c", script], env=os.environ | settings, check=True, timeout=60)
    finally:
        server.terminate()
        server.wait()
    assert (tmp_path / "blobs" / "kept" / hashlib.sha256(b"1" * 9).hexdigest()).read_bytes() == b"1" * 9
