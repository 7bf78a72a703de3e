"""Repositories: commits whose trees name blobs, and the branches, tags and pull requests that point to them."""

from __future__ import annotations

import fnmatch
import hashlib
import uuid
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath

from tests.hub.community import Discussion
from tests.hub.messages import Refusal

LARGE = 10 * 1024 * 1024
SUFFIXES = ("safetensors", "parquet", "png", "jpg", "jpeg", "bin", "pt", "ckpt", "gz", "zip", "npy", "npz", "webp")
ATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in SUFFIXES).encode()


@dataclass(frozen=True)
class Entry:
    """A file of a commit: the sha256 of its bytes, the name git has for it, and the one it has in Xet storage."""

    sha256: str
    size: int
    lfs: bool
    oid: str
    xet: str | None = field(default=None, compare=False)

    @property
    def etag(self) -> str:
        """What the client compares its own copy with."""
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """A whole tree, and what it was made from."""

    oid: str
    parent: str | None
    tree: Mapping[str, Entry]
    title: str
    message: str
    author: str
    date: datetime


@dataclass
class Repo:
    """A repository and who may see it."""

    id: str
    kind: str
    private: bool = False
    gated: str | bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)
    discussions: list[Discussion] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)
    guests: set[str] = field(default_factory=set)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def namespace(self) -> str:
        """The user or organization it belongs to."""
        return self.id.split("/")[0]

    @property
    def location(self) -> str:
        """Its address below the endpoint."""
        return self.id if self.kind == "model" else f"{self.kind}s/{self.id}"

    def find(self, revision: str) -> Commit:
        """The commit that a branch, a tag, a pull request's reference or (the start of) a hash names."""
        named = self.branches | self.tags | {f"refs/pr/{number}": oid for number, oid in self.pulls.items()}
        oid = named.get(revision.removeprefix("refs/heads/").removeprefix("refs/tags/"))
        if oid is None and len(revision) >= 7:
            oid = next((known for known in self.commits if known.startswith(revision)), None)
        if oid is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def references(self, revision: str) -> tuple[dict[str, str], str]:
        """The table that a branch or a pull request's reference is in, and its key there."""
        if revision.removeprefix("refs/heads/") in self.branches:
            return self.branches, revision.removeprefix("refs/heads/")
        if revision.removeprefix("refs/pr/") in self.pulls:
            return self.pulls, revision.removeprefix("refs/pr/")
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def add(self, parent: str | None, tree: Mapping[str, Entry], title: str, message: str, author: str) -> Commit:
        """A new commit that nothing points to yet."""
        date = datetime.now(UTC)
        commit = Commit(hashlib.sha1(uuid.uuid4().bytes).hexdigest(), parent, tree, title, message, author, date)
        self.commits[commit.oid] = commit
        return commit

    def history(self, commit: Commit) -> Iterator[Commit]:
        """A commit and all before it, newest first."""
        yield commit
        while commit.parent is not None:
            commit = self.commits[commit.parent]
            yield commit

    def last_change(self, commit: Commit, path: str) -> Commit:
        """The commit that gave a file or folder the content it has in ``commit``."""
        found = commit
        for older in self.history(commit):
            if below(older.tree, path) != below(commit.tree, path):
                break
            found = older
        return found


def below(tree: Mapping[str, Entry], path: str) -> dict[str, Entry]:
    """A file itself, or all that is in a folder."""
    return {name: entry for name, entry in tree.items() if name == path or name.startswith(f"{path}/")}


def plain_entry(data: bytes) -> Entry:
    """A file that is kept in git itself."""
    return Entry(hashlib.sha256(data).hexdigest(), len(data), False, git_oid(data))


def large_entry(sha256: str, size: int, xet: str | None = None) -> Entry:
    """A file of which git keeps a pointer only."""
    return Entry(sha256, size, True, git_oid(pointer(sha256, size).encode()), xet)


def pointer(sha256: str, size: int) -> str:
    """What git keeps of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"


def git_oid(data: bytes) -> str:
    """The name git gives to a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path: str, size: int, sample: bytes, attributes: str) -> bool:
    """Whether a file must go to large-file storage: by its name, its size, or because it starts with no text."""
    lines = [line.split() for line in attributes.splitlines() if "filter=lfs" in line]
    if any(fnmatch.fnmatch(PurePosixPath(path).name, line[0]) for line in lines):
        return True
    return size > LARGE or not _is_text(sample)


def _is_text(sample: bytes) -> bool:
    try:
        getincrementaldecoder("utf-8")().decode(sample)  # a character may be cut at the end
    except UnicodeDecodeError:
        return False
    return b"\0" not in sample
