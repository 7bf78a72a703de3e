"""Every fault does what it says, to the real client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.hub.faults import (
    Fault,
    answered,
    answered_after,
    call,
    call_after,
    cut_after,
    cut_before,
    slow,
    status,
    wrong_bytes,
)
from tests.hub.server import Hub

WEIGHTS = bytes(range(256)) * 4000
REPO = "acme/model"


@pytest.fixture(autouse=True)
def repo(hub: Hub) -> None:
    hub.add_repo(REPO, {"a.txt": b"1", "w.safetensors": WEIGHTS})


def push(api: HfApi, data: bytes = WEIGHTS[::-1], path: str = "new.safetensors", **options: object) -> str:
    operations = [CommitOperationAdd(path, data)]
    return api.create_commit(REPO, operations, commit_message="x", **options).oid  # type: ignore[call-overload]


def test_a_refused_upload_is_tried_again_by_the_client(hub: Hub, alice: HfApi) -> None:
    fault = hub.faults.add(Fault("lfs-put", action=status(503)))
    push(alice)
    assert hub.files(REPO)["new.safetensors"] == WEIGHTS[::-1]
    assert [request.status for request in hub.requests if request.endpoint == "lfs-put"] == [503, 200]
    assert hub.faults.fired == [fault]


def test_a_cut_upload_is_tried_again_by_the_client(hub: Hub, alice: HfApi) -> None:
    hub.faults.add(Fault("lfs-put", action=cut_before))
    hub.faults.add(Fault("lfs-verify", action=cut_after))
    push(alice)
    assert [request.status for request in hub.requests if request.endpoint == "lfs-put"] == [None, 200]
    assert hub.count("lfs-verify") == 2


@pytest.mark.parametrize("after", [False, True])
def test_a_cut_commit_is_an_error_whether_or_not_it_landed(hub: Hub, alice: HfApi, after: bool) -> None:
    start = hub.head(REPO)
    hub.faults.add(Fault("commit", action=cut_after if after else cut_before))
    with pytest.raises(httpx2.TransportError):
        push(alice, parent_commit=start)
    assert (hub.head(REPO) != start) == after
    assert hub.count("commit") == 1, "the client does not try a commit again"
    if after:
        assert push(alice) == hub.head(REPO), "nothing is left to commit"
        assert hub.count("commit") == 1


def test_a_cut_commit_leaves_a_pull_request_that_can_be_found(hub: Hub, alice: HfApi) -> None:
    hub.faults.add(Fault("commit", action=cut_after))
    with pytest.raises(httpx2.TransportError):
        push(alice, create_pr=True)
    found = list(alice.get_repo_discussions(REPO, discussion_type="pull_request", discussion_status="open"))
    assert [pull.git_reference for pull in found] == ["refs/pr/1"]
    assert push(alice, revision="refs/pr/1") == hub.head(REPO, "refs/pr/1"), "nothing is left to commit"


@pytest.mark.parametrize("endpoint", ["merge", "tag", "settings", "discussion-status", "create"])
def test_other_writes_are_not_tried_again(hub: Hub, alice: HfApi, endpoint: str) -> None:
    alice.create_pull_request(REPO, "A draft")
    hub.faults.add(Fault(endpoint, action=status(503)))
    calls = {
        "merge": lambda: alice.merge_pull_request(REPO, 1),
        "tag": lambda: alice.create_tag(REPO, tag="v1"),
        "settings": lambda: alice.update_repo_settings(REPO, private=True),
        "discussion-status": lambda: alice.change_discussion_status(REPO, 1, "open"),
        "create": lambda: alice.create_repo("acme/other"),
    }
    with pytest.raises(HfHubHTTPError, match="503"):
        calls[endpoint]()
    assert hub.count(endpoint) == 1


def test_a_second_pusher_comes_in_between(hub: Hub, alice: HfApi) -> None:
    start, other = hub.head(REPO), HfApi(endpoint=hub.endpoint, token="hf_alice")
    hub.faults.add(Fault("commit", action=call(lambda: push(other, b"2", "a.txt"))))
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        push(alice, parent_commit=start)
    assert hub.files(REPO)["a.txt"] == b"2"


def test_something_happens_after_the_commit(hub: Hub, alice: HfApi) -> None:
    heads: list[str] = []
    hub.faults.add(Fault("commit", action=call_after(lambda: heads.append(hub.head(REPO)))))
    assert [push(alice)] == heads


def test_wrong_bytes_in_the_store_and_on_the_way(hub: Hub, alice: HfApi, tmp_path: Path) -> None:
    hub.faults.add(Fault("lfs-put", action=wrong_bytes))
    push(alice)
    stored = hub.files(REPO)["new.safetensors"]
    assert stored != WEIGHTS[::-1] and sum(a != b for a, b in zip(stored, WEIGHTS[::-1], strict=True)) == 1
    hub.faults.add(Fault("cdn", action=wrong_bytes))
    hub.faults.add(Fault("resolve", action=wrong_bytes))
    for name, sent in (("w.safetensors", WEIGHTS), ("a.txt", b"1")):
        brought = Path(alice.hf_hub_download(REPO, name, local_dir=tmp_path)).read_bytes()
        assert sum(a != b for a, b in zip(brought, sent, strict=True)) == 1
        assert hub.files(REPO)[name] == sent


@pytest.mark.parametrize("endpoint", ["lfs-put", "cdn"])
def test_slow_bodies(hub: Hub, alice: HfApi, tmp_path: Path, endpoint: str) -> None:
    hub.faults.add(Fault(endpoint, action=slow(0.5)))
    started = time.monotonic()
    push(alice) if endpoint == "lfs-put" else alice.hf_hub_download(REPO, "w.safetensors", local_dir=tmp_path)
    assert 0.4 < time.monotonic() - started < 5


def test_a_client_is_killed_in_the_middle_of_an_upload(hub: Hub) -> None:
    script = (
        "from huggingface_hub import HfApi; HfApi().upload_file("
        f"repo_id='{REPO}', path_or_fileobj=b'x' * 5_000_000, path_in_repo='x.safetensors')"
    )
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_alice", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    client = subprocess.Popen([sys.executable, "-c", script], env=os.environ | settings)
    start = hub.head(REPO)
    hub.faults.add(Fault("lfs-put", action=call(lambda: os.kill(client.pid, signal.SIGKILL))))
    assert client.wait(60) == -signal.SIGKILL
    assert hub.head(REPO) == start and hub.count("commit") == 0


def test_which_requests_a_fault_befalls(hub: Hub, alice: HfApi) -> None:
    alice.model_info(REPO)
    second = hub.faults.add(Fault("info", nth=2, times=2, action=status(500)))
    third = hub.faults.add(Fault("*", nth=5, action=status(501)))

    for _ in range(5):
        httpx2.get(f"{hub.endpoint}/api/models/{REPO}")
    assert [request.status for request in hub.requests] == [200, 200, 500, 500, 200, 501]
    assert hub.faults.fired == [second, second, third]
    hub.faults.add(Fault("info", nth="every", action=status(429)))
    assert [httpx2.get(f"{hub.endpoint}/api/models/{REPO}").status_code for _ in range(3)] == [429] * 3
    hub.faults.clear()
    assert alice.model_info(REPO).sha == hub.head(REPO)


@pytest.mark.parametrize("after", [False, True])
def test_an_answer_that_is_none(hub: Hub, alice: HfApi, after: bool) -> None:
    hub.faults.add(Fault("tag", action=answered_after(b"<html>") if after else answered(b"<html>")))
    alice.create_tag(REPO, tag="v1")
    assert ("v1" in hub.repo(REPO).tags) == after
    hub.faults.add(Fault("info", action=answered(b"{}", 404, {"X-Error-Code": "RepoNotFound"})))
    with pytest.raises(HfHubHTTPError, match="404"):
        alice.model_info(REPO)


def test_an_error_of_the_server_is_not_silent(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the server failed"), Hub(tmp_path) as hub:
        hub.faults.add(Fault("whoami", action=call(lambda: 1 / 0)))
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"{hub.endpoint}/api/whoami-v2")
