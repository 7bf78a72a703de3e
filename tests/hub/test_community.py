"""Pull requests and discussions."""

from __future__ import annotations

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
)

from tests.hub.example import status_of
from tests.hub.server import Hub


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
