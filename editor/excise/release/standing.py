"""How the default branch stands: the last line of every publication, after one more look."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx2
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from excise.errors import ExciseError
from excise.release.repository import About, Target
from excise.sources.hub_errors import hub_explained

AGAIN = "Repeat the command when that is mended; it goes on where it stopped."


PAUSES = (1.0, 3.0)
"""Seconds between looks where the Hub does not answer."""


@dataclass(frozen=True)
class Seen:
    """The default branch at the last look."""

    says: str
    """One line: how it stands, and what to do."""
    sha: str | None = None
    whole: bool = False
    """Whether it is the release."""


@dataclass
class Standing:
    """What a publication knows of the default branch."""

    target: Target
    start: About | None = None
    """As it was at the first look."""
    asked: bool = False
    """Whether a commit on it was asked for."""
    whole: str | None = None
    """The commit at which it was seen to be the release."""

    def look(self) -> Seen:
        """Look once more, whatever has happened; what cannot be seen is said to be unknown."""
        repo, pauses = self.target.repo, list(PAUSES)
        while True:
            try:
                with hub_explained(repo):
                    return self._look()
            except ExciseError as error:
                if not pauses or not _may_pass(error.__cause__):
                    return self._unknown(str(error).removeprefix(f"{repo}: "))
            except KeyboardInterrupt:
                return self._unknown("interrupted")
            time.sleep(pauses.pop(0))

    def _look(self) -> Seen:
        repo, start = self.target.repo, self.start
        try:
            about = self.target.about()
        except RepositoryNotFoundError:
            return Seen(f"{repo}: there is no such repository, or none that this token may see. {AGAIN}")
        if start is not None and about.sha == start.sha and not self.target.known_whole(about.sha):
            return Seen(f"{repo}: the default branch is as it was, commit {about.sha}. {AGAIN}", about.sha)
        found = self.target.compare(about)
        if found.same:
            says = (
                f"{repo}: the whole release is on the default branch, commit {about.sha}; its tag or settings may be "
            )
            return Seen(f"{says}missing. Repeat the command.", about.sha, whole=True)
        if start is None:
            return Seen(f"{repo}: the default branch is at {about.sha}; nothing was sent to it. {AGAIN}", about.sha)
        return Seen(
            f"{repo}: the default branch is at {about.sha}: neither as it was ({start.sha}) nor the release ({found}). "
            "Look at what was changed there; the same command then goes on, and removes nobody's files unasked.",
            about.sha,
        )

    def _unknown(self, reason: str) -> Seen:
        known = "whether it is as it was or the release is not known"
        if self.whole:
            known = f"it was the whole release, commit {self.whole}, when it was last looked at"
        elif not self.asked:
            known = "this command has sent nothing that changes it"
        start = f"{self.target.repo}: the default branch cannot be looked at now ({reason})"
        return Seen(f"{start}; {known}. Repeat the command; it looks again.")


def _may_pass(error: BaseException | None) -> bool:
    """Whether it is one of those that a moment may mend."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, (httpx2.TransportError, ConnectionError))
