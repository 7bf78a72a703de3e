"""The last line of a publication is true whatever happened: Ctrl-C, a network that is gone, others who push."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.hub.faults import Fault, answered, answered_after, call, call_after, cut_before, status
from tests.hub.server import Hub
from tests.release.last_line import publish_watched
from tests.release.publishing import REPO, is_complete, is_whole

pytestmark = pytest.mark.usefixtures("no_pauses", "at_home")


def interrupt() -> None:
    """What Ctrl-C does: the process that publishes is this one."""
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("endpoint", "nth", "after", "kind"),
    [
        ("whoami", 1, False, "not there"),
        ("create", 1, False, "not there"),
        ("create", 1, True, "not sent"),
        ("tree", 1, False, "as it was"),
        ("discussion-create", 1, True, "as it was"),
        ("preupload", 1, False, "as it was"),
        ("lfs-put", 1, False, "as it was"),
        ("commit", 1, True, "as it was"),
        ("resolve", 3, False, "as it was"),
        ("commit", 2, False, "as it was"),
        ("commit", 2, True, "whole"),
        ("tag", 1, False, "whole"),
        ("settings", 1, True, "whole"),
        ("discussion-status", 1, False, "whole"),
    ],
)
def test_an_interrupt(hub: Hub, open_release: Path, endpoint: str, nth: int, after: bool, kind: str) -> None:
    hub.faults.add(Fault(endpoint, nth, (call_after if after else call)(interrupt)))
    done, said = publish_watched(hub, open_release)
    assert done.exit_code == 130 and said == kind and "excise: interrupted\n" in done.stderr
    assert publish_watched(hub, open_release)[1] == "published"
    assert is_complete(hub, open_release)


def test_a_second_interrupt_ends_the_last_look(hub: Hub, open_release: Path) -> None:
    hub.faults.add(Fault("preupload", 1, call(interrupt)))
    hub.faults.add(Fault("preupload", 1, call_after(lambda: hub.faults.add(Fault("info", 1, call(interrupt))))))
    done, kind = publish_watched(hub, open_release)
    assert done.exit_code == 130 and kind == "unknown" and "(interrupted)" in done.stderr


@pytest.mark.parametrize(
    ("endpoint", "nth", "words"),
    [
        ("whoami", 1, "sent nothing"),
        ("create", 1, "sent nothing"),
        ("tree", 1, "sent nothing"),
        ("discussions", 1, "sent nothing"),
        ("lfs-put", 2, "sent nothing"),
        ("resolve-head", 1, "sent nothing"),
        ("resolve", 4, "sent nothing"),
        ("cdn", 2, "sent nothing"),
        ("preupload", 2, "not known"),
        ("commit", 2, "not known"),
        ("tag", 1, "was the whole release"),
        ("settings", 1, "was the whole release"),
        ("discussion-status", 1, "was the whole release"),
        ("info", 9, "was the whole release"),
    ],
)
def test_a_network_that_is_gone(hub: Hub, open_release: Path, endpoint: str, nth: int, words: str) -> None:
    """From some request on nothing is answered any more; what was not seen is said to be unknown."""
    gone = Fault("*", "every", cut_before)
    hub.faults.add(Fault(endpoint, nth, call(lambda: hub.faults.add(gone))))
    hub.faults.add(Fault(endpoint, nth, cut_before))
    done, kind = publish_watched(hub, open_release)
    assert kind == "unknown" and words in done.stderr.splitlines()[-1]
    hub.faults.clear()
    assert publish_watched(hub, open_release)[1] == "published"
    assert is_complete(hub, open_release)


@pytest.mark.parametrize("answer", [status(503), status(401), answered(b"{}"), answered(b"null")])
def test_a_last_look_that_fails(hub: Hub, open_release: Path, answer: object) -> None:
    """Though all before it went well."""
    hub.faults.add(Fault("discussion-status", 1, call(lambda: hub.faults.add(Fault("info", "every", answer)))))  # type: ignore[arg-type]
    done, kind = publish_watched(hub, open_release)
    assert kind == "unknown" and "was the whole release" in done.stderr.splitlines()[-1]


def test_a_commit_that_the_hub_alters(hub: Hub, open_release: Path) -> None:
    """It drops a file of what was to go on the default branch."""

    def alter() -> None:
        repo = hub.repo(REPO)
        head = repo.find("main")
        tree = {path: entry for path, entry in head.tree.items() if path != "CHANGES.md"}
        repo.branches["main"] = repo.add(head.parent, tree, head.title, head.message, head.author).oid

    hub.faults.add(Fault("commit", 2, call_after(alter)))
    done, kind = publish_watched(hub, open_release)
    assert kind == "neither" and "(missing: CHANGES.md)" in done.stderr.splitlines()[-1]
    assert "the Hub altered the commit" in done.stderr
    assert publish_watched(hub, open_release)[1] == "published"
    assert is_whole(hub, open_release)


def test_a_commit_that_was_said_to_be_made(hub: Hub, open_release: Path) -> None:
    """With the hash of one that exists, and is the release, on the pull request's branch."""

    def lie() -> None:
        landed = json.dumps(
            {"commitOid": hub.head(REPO, "refs/pr/1"), "commitUrl": f"{hub.endpoint}/{REPO}/commit/x", "success": True}
        )
        hub.faults.add(Fault("commit", 1, answered(landed.encode())))

    hub.faults.add(Fault("preupload", 2, call(lie)))
    done, kind = publish_watched(hub, open_release)
    assert kind == "as it was" and "the Hub said that it took the commit, and main has not moved" in done.stderr
    assert publish_watched(hub, open_release)[1] == "published"


def test_a_repository_that_is_deleted_on_the_way(hub: Hub, open_release: Path) -> None:
    hub.faults.add(Fault("lfs-batch", 1, call(hub.repos.clear)))
    assert publish_watched(hub, open_release)[1] == "not there"


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_before_the_hub_is_asked(hub: Hub, open_release: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    copy = shutil.copytree(open_release, tmp_path / "run" / "release")
    shutil.copyfile(open_release.parent.parent / "key.pub", tmp_path / "key.pub")
    (copy / "README.md").write_text("other\n")
    done, kind = publish_watched(hub, copy, *arguments)
    assert kind == "not looked at" and "not a verified release" in done.stderr and not hub.requests


@pytest.mark.parametrize("nth", [1, 2])
def test_an_answer_about_files_that_contradicts_another(hub: Hub, open_release: Path, nth: int) -> None:
    """An empty list of the default branch's files would have others' files left in the midst of a release."""
    hub.add_repo(REPO, {"theirs.txt": b"mine"}, private=True)
    hub.faults.add(Fault("tree", nth, answered(b"[]")))
    done, kind = publish_watched(hub, open_release, "--remove", "theirs.txt")
    assert done.exit_code == 1 and kind == "as it was" and "the Hub's answer was broken" in done.stderr
    assert hub.files(REPO)["theirs.txt"] == b"mine"


def test_a_done_commit_whose_answer_is_a_page(hub: Hub, open_release: Path) -> None:
    hub.faults.add(Fault("commit", 2, answered_after(b"<html></html>")))
    assert publish_watched(hub, open_release)[1] == "published"


@pytest.mark.parametrize("there", [False, True])
def test_a_dry_run(hub: Hub, open_release: Path, there: bool) -> None:
    if there:
        hub.add_repo(REPO)
    assert publish_watched(hub, open_release, "--dry-run")[1] == ("dry run" if there else "dry run of a first")
    for endpoint in ("info", "tree", "refs") if there else ("info",):
        for fault in (answered(b"{}"), answered(b"<html></html>"), status(503), cut_before):
            hub.faults.add(Fault(endpoint, "every", fault))
            _, kind = publish_watched(hub, open_release, "--dry-run")  # of a new repository, {} is what files it has
            assert kind in (
                "as it was",
                "not there",
                "unknown",
                "not sent",
                *(["dry run"] if endpoint == "tree" else []),
            )
            hub.faults.clear()
    assert {request.method for request in hub.requests} <= {"GET", "HEAD"}
