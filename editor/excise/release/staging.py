"""The pull request that a release is uploaded to, and fetched back from, before the default branch moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import HfHubHTTPError

from excise.errors import ExciseError
from excise.files.hashing import sha256_file
from excise.release.provenance import RECORD
from excise.release.remote_files import fetched
from excise.release.repository import LATER, MAIN, Target
from excise.sources.hub_errors import broken

NO_PULL_REQUESTS = (403, 404, 405, 410, 501)
"""Statuses with which a repository, or a Hub, that has none of them answers."""


@dataclass(frozen=True)
class Staging:
    """The pull requests of one release, by its title and user."""

    target: Target
    user: str
    digest: str
    """The release's record's sha256."""

    def find_or_open(self) -> int:
        """The number of the one that is there, or of a new one, a draft."""
        try:
            for number in self._numbers():
                self.target.say(f"going on with pull request {number}")
                return number
            made = self.target.api.create_pull_request(
                self.target.repo,
                self.target.title,
                description=f"Staging of {RECORD} {self.digest}. Closed when the release is on {MAIN}.",
            )
        except HfHubHTTPError as error:
            if error.response.status_code not in NO_PULL_REQUESTS:
                raise
            raise ExciseError(
                f"{self.target.repo}: the Hub answered {error.response.status_code} to a pull request, through which a "
                "release goes; allow discussions and pull requests in the repository's settings, and check the token's "
                "rights"
            ) from error
        number = self._number(made.num)
        self.target.say(f"opened pull request {number}, a draft")
        return number

    def upload(self, number: int) -> None:
        """Make the pull request's branch the release."""
        branch, target = f"refs/pr/{number}", self.target
        about = target.about(branch)
        found = target.compare(about)
        if found.same:
            return
        size = sum(target.files[name].size for name in (*found.missing, *found.other))
        target.say(f"uploading {len(found.missing) + len(found.other)} files, {size:,} bytes, to {branch}")
        target.commit(found, branch, about.sha)
        if not target.compare(target.about(branch)).same:
            raise ExciseError(f"{target.repo}: {branch} does not hold what was sent; close it, and publish again")

    def check_bytes(self, number: int, scratch: Path) -> None:
        """Fetch what was uploaded, and hash it: a store may hold other bytes than it lists."""
        target = self.target
        head = target.about(f"refs/pr/{number}").sha
        for name, local in target.files.items():
            with fetched(target.api, target.repo, name, head, scratch) as path:
                if sha256_file(path) != local.sha256:
                    raise ExciseError(
                        f"{target.repo}: {name}: the Hub gives back other bytes than were sent. If a second try says "
                        "so again, it keeps them wrongly: publish under another name"
                    )
        target.say(f"checked {len(target.files)} files byte for byte as the Hub gives them back")

    def close(self) -> None:
        """Close it, and look whether it is."""
        target = self.target
        numbers = self._numbers()
        for number in numbers:
            said = f"This release is on {MAIN} now; the pull request was its staging."
            target.api.change_discussion_status(target.repo, number, "closed", comment=said)
        if numbers and (still := self._numbers()):
            raise ExciseError(
                f"{target.repo}: the Hub said that pull request {still[0]} is closed, and it is open; {LATER}, or "
                "close it on its page"
            )

    def _numbers(self) -> list[int]:
        """Numbers of those that are not closed."""
        target = self.target
        found = target.api.get_repo_discussions(target.repo, author=self.user, discussion_type="pull_request")
        return [self._number(one.num) for one in found if one.title == target.title and one.status in ("draft", "open")]

    def _number(self, number: object) -> int:
        if not isinstance(number, int) or number < 1:
            raise ExciseError(f"{self.target.repo}: {broken('a pull request without a number')}")
        return number
