"""Routes about discussions and pull requests."""

from __future__ import annotations

from typing import Any

from tests.hub.access import require_token, require_write
from tests.hub.changes import conflicts, diff, merge, open_pull_request
from tests.hub.community import Discussion
from tests.hub.messages import Answer, Call, Refusal, answer_json
from tests.hub.store import Repo

OPEN = ("open", "draft")


def discussions(call: Call) -> Answer:
    """A page of the discussions that pass the filters, newest first."""
    repo = call.repo()
    author, kind, status = call.option("author"), call.option("type", "all"), call.option("status", "all")
    found = [
        discussion
        for discussion in reversed(repo.discussions)
        if author in ("", discussion.author)
        and kind in ("all", "pull_request" if discussion.is_pull_request else "discussion")
        and status in ("all", "open" if discussion.status in OPEN else "closed")
    ]
    size = call.hub.discussions_page
    start = size * int(call.option("p", "0"))
    page = [discussion.summary(repo.id, repo.kind) for discussion in found[start : start + size]]
    return answer_json({"discussions": page, "count": len(found), "start": start})


def discussion_create(call: Call) -> Answer:
    """A new discussion, or a pull request without changes, which is a draft."""
    repo = call.repo()
    user, asked = require_token(call.user), call.json()
    if len(asked["title"]) < 3:
        raise Refusal(400, '"title" length must be at least 3 characters long')
    if asked["pullRequest"]:
        made = open_pull_request(
            repo, "main", repo.find("main"), asked["title"], asked["description"], user.name, "draft"
        )
    else:
        made = Discussion(len(repo.discussions) + 1, asked["title"], user.name, "open")
        made.comment(user.name, asked["description"])
        repo.discussions.append(made)
    address = f"{call.hub.endpoint}/{repo.location}/discussions/{made.number}"
    return answer_json({"num": made.number, "url": address, "pullRequest": made.is_pull_request})


def discussion(call: Call) -> Answer:
    """A discussion with all that happened in it, and of a pull request its changes."""
    repo, found = _found(call)
    about: dict[str, Any] = found.summary(repo.id, repo.kind) | {"events": found.events}
    if found.is_pull_request:
        about["filesWithConflicts"] = conflicts(repo, found)
        about["changes"] = {"base": f"refs/heads/{found.branch}"}
        if found.merged:
            about["changes"]["mergeCommitId"] = found.merged
        if call.flag("diff"):
            about["diff"] = diff(repo, found, call.hub.blobs)
    return answer_json(about)


def discussion_comment(call: Call) -> Answer:
    """A comment by who has a write token."""
    _, found = _found(call)
    return answer_json({"newMessage": found.comment(require_token(call.user).name, call.json()["comment"])})


def discussion_status(call: Call) -> Answer:
    """Opened or closed by its author or an owner; what is merged stays so, and it must be a change."""
    repo, found = _found(call)
    user, asked = require_token(call.user), call.json()
    if user.name != found.author:
        require_write(repo.namespace, user)
    if found.status in ("merged", asked["status"]):
        raise Refusal(400, f"This discussion is already {found.status}")
    if "comment" in asked:
        found.comment(user.name, asked["comment"])
    return answer_json({"newStatus": found.change_status(user.name, asked["status"])})


def merge_pull_request(call: Call) -> Answer:
    """A pull request's changes, put on its branch by an owner."""
    repo, found = _found(call)
    user = require_write(repo.namespace, call.user)
    if not found.is_pull_request:
        raise Refusal(400, "This discussion is no pull request")
    merge(repo, found, user.name)
    if comment := call.json().get("comment"):
        found.comment(user.name, comment)
    return answer_json({"mergeCommitId": found.merged})


def _found(call: Call) -> tuple[Repo, Discussion]:
    *_, number = call.names
    repo = call.repo()
    if not 1 <= int(number) <= len(repo.discussions):
        raise Refusal(404, f"Discussion {number} not found")
    return repo, repo.discussions[int(number) - 1]
