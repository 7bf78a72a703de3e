"""A publication whose last line is held against what the Hub really has."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import Result

from tests.hub.server import Hub
from tests.release.publishing import REPO, TOKENS, is_whole, publish

LINES = {
    "as it was": rf"{REPO}: the default branch is as it was, commit (\w+)\. Repeat the command .*",
    "so far as it was": rf"{REPO}: the default branch is as it was, commit (\w+) \(a change .* may still come\)\. R.*",
    "whole": rf"{REPO}: the whole release is on the default branch, commit (\w+); .* Repeat the command\.",
    "published": rf"published: .*/{REPO}: the whole release is on the default branch, commit (\w+)",
    "neither": rf"{REPO}: the default branch is at (\w+): neither as it was \((\w+)\) nor the release \(.+\)\. Look .*",
    "not sent": rf"{REPO}: the default branch is at (\w+); nothing was sent to it\. Repeat the command .*",
    "not there": rf"{REPO}: there is no such repository, or none that this token may see\. Repeat the command .*",
    "not looked at": rf"{REPO}: nothing was sent, and the default branch was not looked at\. Repeat the command .*",
    "dry run": rf"{REPO}: a dry run changes nothing; the default branch was at (\w+) when this was compared",
    "dry run of a first": rf"{REPO}: a dry run changes nothing; the default branch is not there to be seen",
    "unknown": rf"{REPO}: the default branch cannot be looked at now \(.+\); (.*)\. Repeat the command; it .*",
}
"""What a last line may be."""


def kind_of(line: str) -> tuple[str, tuple[str, ...]] | None:
    """Which of these lines it is, and what it states."""
    found = ((name, re.fullmatch(pattern, line)) for name, pattern in LINES.items())
    return next(((name, match.groups()) for name, match in found if match), None)


def publish_watched(hub: Hub, release: Path, *arguments: object) -> tuple[Result, str]:
    """Publish; the result and the kind of its last line, which is the only one of its kind, and true."""
    before, asked = _head(hub), len(hub.requests)
    done = publish(release, "--repo", REPO, *arguments)
    assert "Traceback" not in done.output and isinstance(done.exception, SystemExit | None), done.exception
    assert not [token for token in TOKENS if token in done.output]
    lines = [line for line in (done.stdout + done.stderr).splitlines() if kind_of(line)]
    last = (done.stderr or done.stdout).splitlines()[-1]
    assert lines == [last], done.output
    found = kind_of(last)
    assert found is not None
    kind, stated = found
    sent = any(
        request.endpoint == "commit" and request.path.endswith("/main") and request.user == "alice"
        for request in hub.requests[asked:]
    )
    _check(hub, release, kind, stated, before, sent)
    assert (done.exit_code == 0) == (kind in ("published", "dry run", "dry run of a first"))
    return done, kind


def _head(hub: Hub) -> str | None:
    return hub.head(REPO) if ("model", REPO) in hub.repos else None


def _check(hub: Hub, release: Path, kind: str, stated: tuple[str, ...], before: str | None, sent: bool) -> None:
    """Whether what is stated is so."""
    head = _head(hub)
    match kind:
        case "as it was":
            assert stated == (head,) and head in (before, *([_first(hub)] if before is None else []))
        case "so far as it was":  # an answer was lost, and what it was to may be done after the last look
            assert stated == (before or _first(hub),) and (head == stated[0] or is_whole(hub, release))
        case "whole" | "published":
            assert stated == (head,) and is_whole(hub, release)
        case "neither":
            assert stated == (head, before or _first(hub)) and head != stated[1] and not is_whole(hub, release)
        case "not sent":
            assert stated == (head,) and not sent and not is_whole(hub, release)
        case "not there":  # what the Hub has in hand when it is interrupted may be made after the last look: empty
            assert head is None or (before is None and head == _first(hub) and not sent)
        case "dry run":
            assert stated == (head,) and not sent
        case "not looked at" | "dry run of a first":
            assert not sent and head == before
        case "unknown":
            if "has sent nothing that changes it" in stated[0]:
                assert not sent
            elif "was the whole release" in stated[0]:
                assert stated[0].split(", commit ")[1].split(",")[0] in _wholes(hub, release)
            else:
                assert stated[0] == "whether it is as it was or the release is not known"


def _first(hub: Hub) -> str:
    """The commit with which the repository was made."""
    repo = hub.repo(REPO)
    return list(repo.history(repo.find("main")))[-1].oid


def _wholes(hub: Hub, release: Path) -> list[str]:
    """The commits of the default branch that are the release."""
    repo = hub.repo(REPO)
    return [commit.oid for commit in repo.history(repo.find("main")) if is_whole(hub, release, commit.oid)]
