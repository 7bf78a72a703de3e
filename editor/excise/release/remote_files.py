"""What a repository on the Hub holds at a revision, beside what a release folder holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, RepoFile, hf_hub_download

from excise.errors import ExciseError
from excise.release.signing import OF_THE_HUB
from excise.sources.hub_errors import broken

SMALL = 10 * 2**20
"""Bytes; the Hub keeps no larger file without LFS."""


@dataclass(frozen=True)
class Local:
    """A file as it was when the release was verified; what lies there later does not count."""

    path: Path
    size: int
    sha256: str
    git: str | None
    """Git's sha1, of a small file."""
    data: bytes | None
    """Content of a small file."""


def as_verified(path: Path, size: int, sha256: str) -> Local:
    """A verified file, small ones with their content.

    Raises:
        ExciseError: it is not what was verified any more.
    """
    if size > SMALL:
        return Local(path, size, sha256, None, None)
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ExciseError(f"{path}: changed while it was published; start again")
    return Local(path, size, sha256, hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), data)


@dataclass(frozen=True)
class Comparison:
    """How a revision differs from a release."""

    missing: tuple[str, ...]
    """Files of the release that it lacks."""
    other: tuple[str, ...]
    """Files that it holds with other bytes."""
    extra: tuple[str, ...]
    """Files that the release has not."""

    @property
    def same(self) -> bool:
        """Whether the revision is the release."""
        return not (self.missing or self.other or self.extra)

    def __str__(self) -> str:
        kinds = (("missing", self.missing), ("other bytes", self.other), ("too many", self.extra))
        return "; ".join(f"{word}: {_few(names)}" for word, names in kinds if names)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def tree_of(api: HfApi, repo: str, revision: str) -> dict[str, RepoFile]:
    """The files of a revision by name, without what the Hub puts there itself."""
    found = [file for file in api.list_repo_tree(repo, recursive=True, revision=revision) if isinstance(file, RepoFile)]
    for file in found:
        if not isinstance(file.path, str) or not isinstance(file.size, int):
            raise ExciseError(f"{repo}: {broken('a file without name or size')}")
    return {file.path: file for file in found if file.path != OF_THE_HUB}


@contextmanager
def fetched(api: HfApi, repo: str, name: str, revision: str, scratch: Path) -> Iterator[Path]:
    """A file of a repository, as long as it is looked at."""
    path = Path(
        hf_hub_download(repo, name, revision=revision, local_dir=scratch, token=api.token, endpoint=api.endpoint)
    )
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def compare(files: Mapping[str, Local], tree: Mapping[str, RepoFile]) -> Comparison:
    """Compare by size and hash: sha256 of large files, git's sha1 of small ones.

    Args:
        files: by name in the repository.
        tree: as `tree_of`.
    """
    other = [name for name in files.keys() & tree.keys() if not _same(files[name], tree[name])]
    return Comparison(
        missing=tuple(sorted(files.keys() - tree.keys())),
        other=tuple(sorted(other)),
        extra=tuple(sorted(tree.keys() - files.keys())),
    )


def _same(local: Local, remote: RepoFile) -> bool:
    if remote.lfs is not None:
        return remote.lfs.size == local.size and remote.lfs.sha256 == local.sha256
    return remote.size == local.size and remote.blob_id == local.git
