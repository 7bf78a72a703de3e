"""Whatever befalls a publication: the release is complete and checked, or the default branch is as it was."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from click.testing import Result
from huggingface_hub import HfApi

from tests.hub.faults import Fault, call, call_after, wrong_bytes
from tests.hub.server import Hub
from tests.jobs import excise
from tests.release.faulty import OUTAGES, name_of, publishing
from tests.release.publishing import REPO, TOKENS, is_whole

UNTOUCHED = [".gitattributes"]


@pytest.fixture(scope="module")
def release(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that is to be public, so that every kind of request is made."""
    folder = tmp_path_factory.mktemp("public")
    run = shutil.copytree(released / "run", folder / "run")
    text = (released / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(text.replace('visibility = "private"', 'visibility = "public"'))
    assert excise("run", folder / "recipe.toml", "--out", run).exit_code == 0
    shutil.copyfile(released / "key.pub", folder / "key.pub")
    return run / "release"


def publish(release: Path, repo: str = REPO) -> Result:
    done = excise("publish", release, "--repo", repo, "--public-key", release.parent.parent / "key.pub")
    assert not [token for token in TOKENS if token in done.output]
    assert "Traceback" not in done.output and isinstance(done.exception, SystemExit | None), done.exception
    return done


def is_complete(hub: Hub, release: Path) -> bool:
    """Whole, tagged, and as visible as the recipe says."""
    repo = hub.repo(REPO)
    return is_whole(hub, release) and repo.tags.get("v1") == hub.head(REPO) and not repo.private


def is_untouched(hub: Hub) -> bool:
    """No repository, or a private one whose default branch is as it was made."""
    if ("model", REPO) not in hub.repos:
        return True
    return hub.repo(REPO).private and sorted(hub.files(REPO)) == UNTOUCHED


def test_there_are_enough_of_them() -> None:
    assert len({name_of(fault) for fault in OUTAGES}) == len(OUTAGES) >= 60


@pytest.mark.parametrize("fault", OUTAGES, ids=name_of)
def test_an_outage(hub: Hub, at_home: Path, release: Path, fault: Fault) -> None:
    hub.faults.add(fault)
    done = publish(release)
    assert hub.faults.fired == [fault]
    if done.exit_code == 0:
        assert is_complete(hub, release)
    else:
        assert is_untouched(hub) or is_whole(hub, release)
        said = done.stderr.splitlines()[-1]
        assert REPO in said and "Repeat the command" in said
        if is_whole(hub, release):
            assert "the whole release" in said
        elif ("model", REPO) in hub.repos and hub.repo(REPO).discussions:
            assert "the default branch is as it was" in said
    again = publish(release)
    assert again.exit_code == 0, again.output
    assert is_complete(hub, release)
    assert all(found.status == "closed" for found in hub.repo(REPO).discussions)


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_store_that_keeps_other_bytes(hub: Hub, at_home: Path, release: Path, nth: int) -> None:
    hub.faults.add(Fault("lfs-put", nth, wrong_bytes))
    for _ in range(2):
        done = publish(release)
        assert done.exit_code == 1 and "gives back other bytes than were sent" in done.stderr
        assert is_untouched(hub)


@pytest.mark.parametrize(
    ("endpoint", "nth"),
    [
        ("discussions", 1),
        ("discussion-create", 1),
        ("commits", 1),
        ("preupload", 1),
        ("lfs-put", 1),
        ("commit", 1),
        ("resolve-head", 1),
        ("resolve", 5),
        ("preupload", 2),
        ("commit", 2),
    ],
)
def test_somebody_else_pushes_in_between(
    hub: Hub, at_home: Path, release: Path, alice: HfApi, endpoint: str, nth: int
) -> None:
    """Up to the very request that moves the branch."""
    carol = HfApi(endpoint=hub.endpoint, token="hf_carol")
    hub.add_user("carol", "hf_carol", orgs=("acme",))

    def push() -> None:
        carol.upload_file(path_or_fileobj=b"mine", path_in_repo="theirs.txt", repo_id=REPO)

    hub.faults.add(Fault(endpoint, nth, call(push)))
    for _ in range(2):
        done = publish(release)
        assert done.exit_code == 1 and hub.faults.fired, done.output
        assert "somebody else changed main" in done.stderr or "it holds files of another kind" in done.stderr
        assert sorted(hub.files(REPO)) == [*UNTOUCHED, "theirs.txt"] and hub.repo(REPO).private
    carol.delete_file("theirs.txt", REPO)  # as the message says: looked at, put right, the pull request closed
    for found in hub.repo(REPO).discussions:
        alice.change_discussion_status(REPO, found.number, "closed")
    assert publish(release).exit_code == 0
    assert is_complete(hub, release)


BYTES = ("resolve-head", "resolve", "cdn")
"""Requests that fetch what was uploaded; there are two for each file, and the client is killed at every eighth."""


@pytest.mark.e2e
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_between_any_two_requests(hub: Hub, at_home: Path, release: Path, tmp_path: Path, when: str) -> None:
    """Each time a new client goes on with a new repository; killed before the server acts, or after."""
    alone = publishing(hub.endpoint, at_home / "hub", release, REPO, tmp_path / "alone.txt")
    alone.start()
    alone.join(60)
    places = [i for i, made in enumerate(hub.requests, start=1) if made.endpoint not in BYTES or i % 8 == 0]
    numbers = places if when == "before" else places[::3]
    killed = whole = 0
    for number in numbers:
        hub.repos.clear()
        hub.faults.clear()
        output = tmp_path / f"{when}-{number}.txt"
        process = publishing(hub.endpoint, at_home / "hub", release, REPO, output)

        def kill(process=process) -> None:  # type: ignore[no-untyped-def]
            os.kill(process.pid, signal.SIGKILL)

        hub.faults.add(Fault("*", number, (call if when == "before" else call_after)(kill)))
        process.start()
        process.join(60)
        killed += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL), output.read_text()
        whole += not is_untouched(hub)
        assert is_untouched(hub) or is_whole(hub, release)
        hub.faults.clear()
        assert publish(release).exit_code == 0
        assert is_complete(hub, release)
        assert not [token for token in TOKENS if output.is_file() and token in output.read_text()]
    assert killed == len(numbers) >= (40 if when == "before" else 14) and whole >= 3
