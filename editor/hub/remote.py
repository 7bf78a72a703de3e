"""What a repository on the Hub holds at a revision, beside what a release folder holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, RepoFile

from editor.hashing import sha256_file

OWN_OF_THE_HUB = ".gitattributes"
"""Made with every repository, and kept."""


@dataclass(frozen=True)
class Comparison:
    """How a revision differs from a folder."""

    missing: tuple[str, ...]
    """Files of the folder that it lacks."""
    other: tuple[str, ...]
    """Files that it holds with other bytes."""
    extra: tuple[str, ...]
    """Files that the folder has not."""

    @property
    def same(self) -> bool:
        """Whether the revision is the folder."""
        return not (self.missing or self.other or self.extra)


def tree_of(api: HfApi, repo: str, revision: str) -> dict[str, RepoFile]:
    """The files of a revision by name, without what the Hub puts there itself."""
    files = [file for file in api.list_repo_tree(repo, recursive=True, revision=revision) if isinstance(file, RepoFile)]
    return {file.path: file for file in files if file.path != OWN_OF_THE_HUB}


def compare(files: Mapping[str, Path], tree: Mapping[str, RepoFile]) -> Comparison:
    """Compare by size and hash: sha256 of large files, git's sha1 of small ones.

    Args:
        files: name in the repository to the local file.
        tree: as `tree_of`.
    """
    other = [name for name in files.keys() & tree.keys() if not _same(files[name], tree[name])]
    return Comparison(
        missing=tuple(sorted(files.keys() - tree.keys())),
        other=tuple(sorted(other)),
        extra=tuple(sorted(tree.keys() - files.keys())),
    )


def _same(local: Path, remote: RepoFile) -> bool:
    if remote.lfs is not None:
        return remote.lfs.size == local.stat().st_size and remote.lfs.sha256 == sha256_file(local)
    if remote.size != local.stat().st_size:
        return False
    data = local.read_bytes()
    return remote.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
