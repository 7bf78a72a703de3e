"""The pull request that a release goes through: where there can be none, and one that does not close."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hub.faults import Action, Fault, answered, answered_after, status
from tests.hub.server import Hub
from tests.release.last_line import publish_watched
from tests.release.publishing import REPO, is_complete, is_untouched

pytestmark = pytest.mark.usefixtures("no_pauses", "at_home")

DISABLED = json.dumps({"error": "Discussions are disabled for this repo"}).encode()


@pytest.mark.parametrize("endpoint", ["discussions", "discussion-create"])
@pytest.mark.parametrize("code", [403, 404, 410, 501])
def test_pull_requests_that_are_disabled(hub: Hub, open_release: Path, endpoint: str, code: int) -> None:
    hub.faults.add(Fault(endpoint, 1, answered(DISABLED, code)))
    done, kind = publish_watched(hub, open_release)
    assert kind == "as it was" and is_untouched(hub)
    assert f"answered {code} to a pull request" in done.stderr and "repository's settings" in done.stderr


@pytest.mark.parametrize(
    ("endpoint", "action", "words"),
    [
        (
            "validate-yaml",
            answered(json.dumps({"errors": [{"message": '"license" must be one of [mit]'}]}).encode(), 400),
            ('Invalid metadata in README.md. - "license" must be one of [mit]; mend',),
        ),
        ("validate-yaml", answered(b"{}", 400), ("Invalid metadata in README.md",)),
        ("validate-yaml", answered(b"<html></html>", 400), ("the Hub's answer was broken",)),
        ("commit", answered(b'{"error": "Invalid metadata"}', 400), ("the Hub answered 400 (Invalid metadata); mend",)),
        ("commit", answered(b'{"error": {"deep": []}}', 400), ("400",)),
        ("commit", answered(b'{"error": null, "errors": 7}', 422), ("the Hub's answer was broken",)),
        ("commit", answered(b'{"error": "Two at once"}', 409), ("409 (Two at once): somebody else is at work",)),
        ("commit", status(413), ("the Hub answered 413",)),
        ("commit", status(501), ("501", "this Hub does not do that")),
        ("lfs-batch", status(404), ("404",)),
        ("preupload", answered(b'{"files": [{"path": 1}]}'), ("the Hub's answer was broken",)),
        ("preupload", answered(b"[" * 100_000), ("the Hub's answer was broken",)),
        ("discussion-create", answered(b'{"num": "x"}'), ("discussion_num",)),
        ("resolve-head", status(404), ("404",)),
        ("resolve-head", status(302, {"Location": "http://127.0.0.1:9/x"}), ("answer was broken",)),
    ],
)
def test_refusals(hub: Hub, open_release: Path, endpoint: str, action: Action, words: tuple[str, ...]) -> None:
    hub.faults.add(Fault(endpoint, "every", action))
    done, kind = publish_watched(hub, open_release)
    assert kind == "as it was" and is_untouched(hub)
    assert all(word in done.stderr for word in words), done.stderr
    hub.faults.clear()
    assert publish_watched(hub, open_release)[1] == "published"


def test_a_page_as_a_files_body(hub: Hub, open_release: Path) -> None:
    """As a network that wants its terms accepted sends it, with status 200."""
    page = b"<html>" + b" " * 1000 + b"</html>"
    for endpoint in ("resolve", "cdn"):
        hub.faults.add(Fault(endpoint, "every", answered(page)))
        done, kind = publish_watched(hub, open_release)
        assert kind == "as it was" and "the Hub's answer was broken" in done.stderr
        hub.faults.clear()


def test_a_page_as_long_as_the_file(hub: Hub, open_release: Path) -> None:
    size = (open_release / "CHANGES.md").stat().st_size
    hub.faults.add(Fault("resolve", 1, answered(b"<html>".ljust(size))))
    done, kind = publish_watched(hub, open_release)
    assert kind == "as it was" and "CHANGES.md: the Hub gives back other bytes than were sent" in done.stderr


def test_a_pull_request_that_was_said_to_be_closed(hub: Hub, open_release: Path) -> None:
    event = {
        "id": "0" * 24,
        "type": "status-change",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "author": {"name": "alice"},
        "data": {"status": "closed"},
    }
    said = json.dumps({"newStatus": event}).encode()
    hub.faults.add(Fault("discussion-status", 1, answered(said)))
    done, kind = publish_watched(hub, open_release)
    assert kind == "whole" and "pull request 1 is closed, and it is open" in done.stderr
    hub.faults.add(Fault("discussion-status", 1, answered_after(said)))
    assert publish_watched(hub, open_release)[1] == "published"
    assert is_complete(hub, open_release) and hub.repo(REPO).discussions[0].status == "closed"
