"""Whatever befalls a publication: the release is complete and checked, or the default branch is as it was."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from excise.files.scratch import PREFIX
from tests.hub.faults import Fault, call, call_after, wrong_bytes
from tests.hub.server import Hub
from tests.release.faulty import BROKEN, OUTAGES, is_tried_again, name_of, publishing
from tests.release.last_line import publish_watched
from tests.release.publishing import REPO, TOKENS, is_complete, is_untouched, is_whole

pytestmark = pytest.mark.usefixtures("no_pauses", "at_home")


def test_there_are_enough_of_them() -> None:
    assert len({name_of(fault) for fault in (*OUTAGES, *BROKEN)}) == len(OUTAGES) + len(BROKEN) >= 220


@pytest.mark.parametrize("fault", [*OUTAGES, *BROKEN], ids=name_of)
def test_whatever_befalls_a_request(hub: Hub, open_release: Path, fault: Fault) -> None:
    """The release is complete or the branch as it was, the last line says which, and a second try completes."""
    hub.faults.add(fault)
    done, kind = publish_watched(hub, open_release)
    assert hub.faults.fired == [fault]
    if done.exit_code == 0:
        assert is_complete(hub, open_release)
    else:
        assert (is_untouched(hub) and kind != "whole") or (is_whole(hub, open_release) and kind == "whole"), kind
    if is_tried_again(fault):
        again, _ = publish_watched(hub, open_release)
        assert again.exit_code == 0, again.output
        assert is_complete(hub, open_release)


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_store_that_keeps_other_bytes(hub: Hub, open_release: Path, nth: int) -> None:
    hub.faults.add(Fault("lfs-put", nth, wrong_bytes))
    for _ in range(2):
        done, kind = publish_watched(hub, open_release)
        assert kind == "as it was" and "gives back other bytes than were sent" in done.stderr
        assert is_untouched(hub)


@pytest.mark.parametrize(
    ("endpoint", "nth", "name"),
    [
        ("discussions", 1, "theirs.txt"),
        ("discussion-create", 1, "theirs.txt"),
        ("preupload", 1, "theirs.txt"),
        ("lfs-put", 1, "theirs.txt"),
        ("commit", 1, "theirs.txt"),
        ("resolve-head", 1, "theirs.txt"),
        ("resolve", 5, "theirs.txt"),
        ("preupload", 2, "theirs.txt"),
        ("commit", 2, "theirs.txt"),
        ("tag", 1, "theirs.txt"),
        ("settings", 1, "theirs.txt"),
        ("discussion-status", 1, "theirs.txt"),
        ("info", 9, "theirs.txt"),
        ("discussion-create", 1, "README.md"),
        ("commit", 2, "README.md"),
        ("tag", 1, "README.md"),
    ],
)
def test_somebody_else_pushes_in_between(hub: Hub, open_release: Path, endpoint: str, nth: int, name: str) -> None:
    """Up to the very request that moves the branch, and after it: what they pushed stays until it is named."""
    carol = HfApi(endpoint=hub.endpoint, token="hf_carol")
    hub.add_user("carol", "hf_carol", orgs=("acme",))

    def push() -> None:
        carol.upload_file(path_or_fileobj=b"mine", path_in_repo=name, repo_id=REPO)

    hub.faults.add(Fault(endpoint, nth, call(push)))
    first, kind = publish_watched(hub, open_release)
    assert hub.faults.fired and first.exit_code == 1 and kind == "neither", first.output
    again, kind = publish_watched(hub, open_release)
    assert again.exit_code == 1 and kind == "as it was" and f" --remove {name}\n" in again.stderr
    assert hub.files(REPO)[name] == b"mine"
    agreed, _ = publish_watched(hub, open_release, "--remove", name)
    assert agreed.exit_code == 0, agreed.output
    assert is_whole(hub, open_release)


BYTES = ("resolve-head", "resolve", "cdn")
"""Requests that fetch what was uploaded; there are two for each file, and the client is killed at every sixteenth."""


@pytest.mark.e2e
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_between_any_two_requests(
    hub: Hub, at_home: Path, open_release: Path, tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time a new client goes on with a new repository, and removes what the killed one left on this machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    alone = publishing(hub.endpoint, at_home / "hub", open_release, REPO, tmp_path / "alone.txt")
    alone.start()
    alone.join(60)
    places = [i for i, made in enumerate(hub.requests, start=1) if made.endpoint not in BYTES or i % 16 == 0]
    numbers = places if when == "before" else places[::3]
    killed = whole = left = 0
    for number in numbers:
        hub.repos.clear()
        hub.faults.clear()
        output = tmp_path / f"{when}-{number}.txt"
        process = publishing(hub.endpoint, at_home / "hub", open_release, REPO, output)

        def kill(process=process) -> None:  # type: ignore[no-untyped-def]
            os.kill(process.pid, signal.SIGKILL)

        hub.faults.add(Fault("*", number, (call if when == "before" else call_after)(kill)))
        process.start()
        process.join(60)
        killed += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL), output.read_text()
        whole += not is_untouched(hub)
        assert is_untouched(hub) or is_whole(hub, open_release)
        hub.faults.clear()
        left += bool(list(tmp_path.glob(f"{PREFIX}*/*")))
        assert publish_watched(hub, open_release)[1] == "published"
        assert is_complete(hub, open_release) and not list(tmp_path.glob(f"{PREFIX}*"))
        assert not [token for token in TOKENS if output.is_file() and token in output.read_text()]
    assert killed == len(numbers) >= (40 if when == "before" else 14) and whole >= 3
    assert left >= killed - 1  # at the last look nothing is there any more
