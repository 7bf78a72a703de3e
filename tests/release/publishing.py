"""What tests of publishing share: the repository, and whether it holds the release."""

from __future__ import annotations

from pathlib import Path

from click.testing import Result

from tests.hub.server import Hub
from tests.jobs import excise

REPO = "acme/tiny-excised"
TOKENS = ("hf_alice", "hf_rita", "hf_bob")


def release_files(release: Path) -> dict[str, bytes]:
    return {path.relative_to(release).as_posix(): path.read_bytes() for path in release.rglob("*") if path.is_file()}


UNTOUCHED = [".gitattributes"]
"""What a new repository holds."""


def is_whole(hub: Hub, release: Path, revision: str = "main") -> bool:
    """Whether the default branch, or another revision, is the release, byte for byte."""
    if ("model", REPO) not in hub.repos:
        return False
    found = hub.files(REPO, revision)
    found.pop(".gitattributes")
    return found == release_files(release)


def is_complete(hub: Hub, release: Path) -> bool:
    """Whole, tagged, and public, as the recipe of `open_release` says; its pull requests are closed."""
    repo = hub.repo(REPO)
    closed = all(found.status == "closed" for found in repo.discussions)
    return is_whole(hub, release) and repo.tags.get("v1") == hub.head(REPO) and not repo.private and closed


def is_untouched(hub: Hub) -> bool:
    """No repository, or a private one whose default branch is as it was made."""
    if ("model", REPO) not in hub.repos:
        return True
    return hub.repo(REPO).private and sorted(hub.files(REPO)) == UNTOUCHED


def publish(release: Path, *arguments: object) -> Result:
    """With the key that the tests' releases are signed with."""
    keys = [folder / "key.pub" for folder in (release.parent.parent, release.parent) if (folder / "key.pub").is_file()]
    return excise("publish", release, *arguments, *(("--public-key", keys[0]) if keys else ()))
