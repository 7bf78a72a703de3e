"""The real client against the server: what it sends is understood, and what it is told it understands."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, HfFileSystem, RepoFolder
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub.server import Hub

CARD = b"---\nlicense: mit\ntags: [test]\n---\nA model.\n"
WEIGHTS = bytes(range(256)) * 4000


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


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def additions(folder: Path) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path, data) for path, data in contents(folder).items()]


def status_of(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return error.value.response.status_code


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


def test_stale_parent_is_refused(hub: Hub, alice: HfApi) -> None:
    start = hub.add_repo("acme/model", {"a.txt": b"1", "old/b.txt": b"1", "old/c.txt": b"1"})
    alice.create_commit("acme/model", [CommitOperationAdd("a.txt", b"2")], commit_message="x", parent_commit=start)
    delete = [CommitOperationDelete("old/")]
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as error:
        alice.create_commit("acme/model", delete, commit_message="y", parent_commit=start)
    assert status_of(error) == 412
    alice.create_commit("acme/model", delete, commit_message="y", parent_commit=hub.head("acme/model"))
    assert hub.files("acme/model").keys() == {".gitattributes", "a.txt"}
    with pytest.raises(EntryNotFoundError, match="doesn't exist"):
        alice.delete_file("gone.txt", "acme/model")


def test_a_pull_request_starts_from_its_parent_and_conflicts_when_overtaken(hub: Hub, alice: HfApi) -> None:
    start = hub.add_repo("acme/model", {"a.txt": b"1", "b.txt": b"1"})
    for data in (b"2", b"3"):
        alice.create_commit(
            "acme/model", [CommitOperationAdd("a.txt", data)], commit_message="x", create_pr=True, parent_commit=start
        )
    alice.create_commit("acme/model", [CommitOperationAdd("b.txt", b"9")], commit_message="y")
    assert alice.get_discussion_details("acme/model", 1).conflicting_files == []
    alice.merge_pull_request("acme/model", 1)
    assert hub.files("acme/model")["a.txt"] == b"2" and hub.files("acme/model")["b.txt"] == b"9"
    assert alice.get_discussion_details("acme/model", 2).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match="conflicts") as error:
        alice.merge_pull_request("acme/model", 2)
    assert status_of(error) == 409
    with pytest.raises(BadRequestError, match="merged"):
        alice.merge_pull_request("acme/model", 1)


def test_a_draft_takes_commits_but_is_not_merged(hub: Hub, alice: HfApi) -> None:
    hub.add_repo("acme/model")
    draft = alice.create_pull_request("acme/model", "A draft", description="to come")
    assert (draft.status, draft.git_reference) == ("draft", "refs/pr/1")
    alice.create_commit(
        "acme/model", [CommitOperationAdd("a.txt", b"1")], commit_message="x", revision=draft.git_reference
    )
    assert alice.get_discussion_details("acme/model", 1).status == "draft"
    with pytest.raises(BadRequestError, match="draft mode"):
        alice.merge_pull_request("acme/model", 1)
    assert alice.change_discussion_status("acme/model", 1, "open").new_status == "open"
    with pytest.raises(BadRequestError, match="already open"):
        alice.change_discussion_status("acme/model", 1, "open")
    alice.merge_pull_request("acme/model", 1)
    assert hub.files("acme/model")["a.txt"] == b"1"


def test_discussions_are_listed_in_pages_and_filtered(hub: Hub, alice: HfApi, bob: HfApi) -> None:
    hub.add_repo("acme/model")
    hub.discussions_page = 2
    for number in range(3):
        bob.create_pull_request("acme/model", f"pull {number}")
    bob.change_discussion_status("acme/model", 1, "closed")
    alice.create_discussion("acme/model", "question")

    def numbers(**filters: str) -> list[int]:
        return [found.num for found in alice.get_repo_discussions("acme/model", **filters)]

    assert numbers() == [4, 3, 2, 1] and hub.count("discussions") == 2
    assert numbers(discussion_type="pull_request", discussion_status="open") == [3, 2]
    assert numbers(author="alice") == [4] and numbers(discussion_status="closed") == [1]


def test_refs_tags_and_branches(hub: Hub, alice: HfApi) -> None:
    start = hub.add_repo("acme/model")
    alice.create_branch("acme/model", branch="next", revision=start)
    alice.create_tag("acme/model", tag="v1", revision="next")
    alice.create_tag("acme/model", tag="v1", exist_ok=True)
    alice.create_pull_request("acme/model", "A draft")
    refs = alice.list_repo_refs("acme/model", include_pull_requests=True)
    assert [ref.name for ref in refs.branches] == ["main", "next"] and refs.tags[0].target_commit == start
    assert [ref.ref for ref in refs.pull_requests or []] == ["refs/pr/1"]
    alice.delete_tag("acme/model", tag="v1")
    alice.delete_branch("acme/model", branch="next")
    assert not alice.revision_exists("acme/model", "v1") and not alice.revision_exists("acme/model", "next")
    assert alice.revision_exists("acme/model", start[:7]) and alice.revision_exists("acme/model", "refs/pr/1")


def test_trees_come_in_pages(hub: Hub, alice: HfApi) -> None:
    hub.tree_page = 2
    hub.add_repo("acme/model", {"a/b/c.txt": b"1", "a/d.txt": b"2", "e f.txt": b"3"})

    def paths(**options: object) -> list[str]:
        return [found.path for found in alice.list_repo_tree("acme/model", **options)]  # type: ignore[arg-type]

    assert paths(recursive=True) == [".gitattributes", "a", "a/b", "a/b/c.txt", "a/d.txt", "e f.txt"]
    assert hub.count("tree") == 3
    assert paths() == [".gitattributes", "a", "e f.txt"]
    assert paths(path_in_repo="a") == ["a/b", "a/d.txt"] and paths(path_in_repo="a/b") == ["a/b/c.txt"]
    found = alice.get_paths_info("acme/model", ["e f.txt", "a", "gone"], expand=True)
    assert [(info.path, info.last_commit and info.last_commit.title) for info in found] == [
        ("e f.txt", "Upload files"),
        ("a", "Upload files"),
    ]
    assert alice.hf_hub_download("acme/model", "e f.txt", local_dir=hub.blobs.path("x").parent.parent / "copy")


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


def test_what_does_not_exist_is_said_to_be_so(hub: Hub, alice: HfApi, tmp_path: Path) -> None:
    hub.add_repo("acme/model", {"a.txt": b"1"})
    with pytest.raises(RevisionNotFoundError):
        alice.model_info("acme/model", revision="gone")
    with pytest.raises(RevisionNotFoundError):
        alice.create_tag("acme/model", tag="v1", revision="gone")
    with pytest.raises(EntryNotFoundError):
        alice.hf_hub_download("acme/model", "gone.txt", local_dir=tmp_path)
    assert alice.file_exists("acme/model", "a.txt") and not alice.file_exists("acme/model", "gone.txt")
    with pytest.raises(HfHubHTTPError) as error:
        alice.create_repo("acme/model")
    assert status_of(error) == 409
    assert alice.create_repo("acme/model", exist_ok=True).repo_id == "acme/model"
    alice.update_repo_settings("acme/model", gated="manual")
    assert alice.model_info("acme/model").gated == "manual"
    alice.delete_repo("acme/model")
    assert not alice.repo_exists("acme/model")


@pytest.mark.parametrize("head", ["license: [", "license: 3", "- a list", "base_model_relation: twin"])
def test_a_faulty_card_is_refused_before_anything_travels(hub: Hub, alice: HfApi, head: str) -> None:
    hub.add_repo("acme/model")
    card = CommitOperationAdd("README.md", f"---\n{head}\n---\n".encode())
    with pytest.raises(ValueError, match="Invalid metadata"):
        alice.create_commit("acme/model", [card], commit_message="x")
    assert hub.count("preupload", "commit") == 0


def test_a_folder_is_taken_as_it_is(hub: Hub, folder: Path) -> None:
    hub.add_repo("acme/model", folder=folder)
    files = hub.files("acme/model")
    del files[".gitattributes"]
    assert files == contents(folder)
    assert hub.repo("acme/model").stored == {hub.hashes("acme/model")[path] for path in files if "safetensors" in path}


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
