"""Discussions and pull requests: what happened in them, as the client reads it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass
class Discussion:
    """A discussion, or a pull request on ``branch`` that was opened from commit ``base``."""

    number: int
    title: str
    author: str
    status: str
    branch: str | None = None
    base: str = ""
    merged: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_pull_request(self) -> bool:
        """Whether it carries changes."""
        return self.branch is not None

    def add(self, kind: str, author: str, data: dict[str, Any]) -> dict[str, Any]:
        """Append an event and return it."""
        event = {
            "id": secrets.token_hex(12),
            "type": kind,
            "createdAt": stamp(datetime.now(UTC)),
            "author": {"name": author},
            "data": data,
        }
        self.events.append(event)
        return event

    def comment(self, author: str, text: str) -> dict[str, Any]:
        """Append a comment and return it."""
        latest = {"raw": text, "html": text, "updatedAt": stamp(datetime.now(UTC)), "author": {"name": author}}
        return self.add("comment", author, {"edited": False, "hidden": False, "latest": latest, "history": [latest]})

    def change_status(self, author: str, status: str) -> dict[str, Any]:
        """Give it a status and return the event."""
        self.status = status
        return self.add("status-change", author, {"status": status})

    def summary(self, repo_id: str, kind: str) -> dict[str, Any]:
        """What a list of discussions says of it."""
        return {
            "num": self.number,
            "title": self.title,
            "author": {"name": self.author},
            "status": self.status,
            "isPullRequest": self.is_pull_request,
            "createdAt": stamp(self.created),
            "repo": {"name": repo_id, "type": kind},
        }


def stamp(moment: datetime) -> str:
    """A moment, to the millisecond, as the client parses it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
