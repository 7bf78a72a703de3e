"""Commits from the client's operations, pull requests made of them, and their merge."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from tests.hub.blobs import Blobs
from tests.hub.cards import check_card
from tests.hub.community import Discussion
from tests.hub.messages import Refusal
from tests.hub.store import Commit, Entry, Repo, below, large_entry, plain_entry, pointer
from tests.hub.xet import Stored

Changes = dict[str, Entry | None]


def apply_operations(
    repo: Repo, tree: Mapping[str, Entry], operations: list[dict[str, Any]], blobs: Blobs, xet: Mapping[str, Stored]
) -> dict[str, Entry]:
    """A tree with the operations of a commit request done to it; ``xet`` is what came by Xet, by sha256."""
    result = dict(tree)
    for operation in operations:
        path = operation["value"]["path"]
        match operation["key"]:
            case "file":
                data = base64.b64decode(operation["value"]["content"])
                if path == "README.md" and (errors := check_card(data.decode())[0]):
                    raise Refusal(400, f"Invalid metadata in README.md: {errors[0]}")
                blobs.add(data)
                result[path] = plain_entry(data)
            case "lfsFile":
                sha256 = operation["value"]["oid"]
                if sha256 in repo.stored:
                    result[path] = large_entry(sha256, blobs.path(sha256).stat().st_size)
                elif sha256 in xet:
                    result[path] = large_entry(sha256, xet[sha256].size, xet[sha256].hash)
                else:
                    raise Refusal(
                        400,
                        "Your push was rejected because an LFS pointer pointed to a file that does not exist."
                        f" Offending file: - {path}",
                    )
            case "deletedFile" | "deletedFolder" as kind:
                gone = below(result, path.rstrip("/"))
                if not gone or (kind == "deletedFile" and path not in gone):
                    raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
                result = {name: entry for name, entry in result.items() if name not in gone}
            case other:
                raise Refusal(400, f"Unknown operation: {other}")
    return result


def open_pull_request(
    repo: Repo, branch: str, base: Commit, title: str, text: str, author: str, status: str
) -> Discussion:
    """A new pull request whose reference points to its base."""
    discussion = Discussion(len(repo.discussions) + 1, title, author, status, branch, base.oid)
    discussion.comment(author, text)
    repo.discussions.append(discussion)
    repo.pulls[str(discussion.number)] = base.oid
    return discussion


def changes(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> Changes:
    """What differs: the new file of each path, None for one that is gone."""
    return {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def pull_changes(repo: Repo, discussion: Discussion) -> Changes:
    """What a pull request changes."""
    return changes(repo.commits[discussion.base].tree, repo.find(f"refs/pr/{discussion.number}").tree)


def conflicts(repo: Repo, discussion: Discussion) -> list[str]:
    """Paths that both the pull request and, since it was opened, its branch changed, and differently."""
    if discussion.merged:
        return []
    ours = pull_changes(repo, discussion)
    theirs = changes(repo.commits[discussion.base].tree, repo.find(f"refs/heads/{discussion.branch}").tree)
    return sorted(path for path in ours.keys() & theirs.keys() if ours[path] != theirs[path])


def merge(repo: Repo, discussion: Discussion, author: str) -> Commit:
    """Put a pull request's changes on its branch, as one commit."""
    if discussion.status == "draft":
        raise Refusal(400, "This branch is in draft mode, publish it to be able to merge.")
    if discussion.status != "open":
        raise Refusal(400, f"This pull request is {discussion.status}, it cannot be merged.")
    if paths := conflicts(repo, discussion):
        raise Refusal(409, f"This pull request has conflicts with {discussion.branch}: {', '.join(paths)}")
    head = repo.find(f"refs/heads/{discussion.branch}")
    tree = {**head.tree, **pull_changes(repo, discussion)}
    kept = {path: entry for path, entry in tree.items() if entry is not None}
    commit = repo.add(head.oid, kept, f"{discussion.title} (#{discussion.number})", "", author)
    repo.branches[str(discussion.branch)] = commit.oid
    discussion.merged = commit.oid
    discussion.change_status(author, "merged")
    return commit


def diff(repo: Repo, discussion: Discussion, blobs: Blobs) -> str:
    """What a pull request changes, as git prints it."""
    base = repo.commits[discussion.base].tree
    lines: list[str] = []
    for path, entry in sorted(pull_changes(repo, discussion).items()):
        lines.append(f"diff --git a/{path} b/{path}")
        before, after = _lines(base.get(path), blobs), _lines(entry, blobs)
        lines.extend(difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm=""))
    return "\n".join(lines)


def _lines(entry: Entry | None, blobs: Blobs) -> list[str]:
    if entry is None:
        return []
    if entry.lfs:
        return pointer(entry.sha256, entry.size).splitlines()
    return blobs.path(entry.sha256).read_text(errors="replace").splitlines()


def folders(paths: Iterable[str]) -> set[str]:
    """Every folder that some path lies in."""
    return {path[:i] for path in paths for i, letter in enumerate(path) if letter == "/"}
