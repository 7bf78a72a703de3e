"""Commits, refs, trees, and what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RevisionNotFoundError,
)

from tests.hub.example import contents, status_of
from tests.hub.server import Hub


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


def test_a_folder_is_taken_as_it_is(hub: Hub, folder: Path) -> None:
    hub.add_repo("acme/model", folder=folder)
    files = hub.files("acme/model")
    del files[".gitattributes"]
    assert files == contents(folder)
    assert hub.repo("acme/model").stored == {hub.hashes("acme/model")[path] for path in files if "safetensors" in path}
