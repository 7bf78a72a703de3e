"""Routes about users, and about repositories as a whole."""

from __future__ import annotations

from typing import Any

import yaml

from tests.hub.access import User, require_download, require_token, require_write, see
from tests.hub.cards import card_tags, check_card, read_card
from tests.hub.community import stamp
from tests.hub.messages import Answer, Call, Refusal, answer_json
from tests.hub.store import Commit, Repo, pointer


def whoami(call: Call) -> Answer:
    """Who the token is from, and what it allows."""
    if call.user is None:
        raise Refusal(401, "Invalid username or password.")
    user = call.user
    orgs = [{"type": "org", "name": name, "fullname": name, "roleInOrg": "write"} for name in user.orgs]
    token = {"displayName": "test", "role": user.role}
    about = {"type": "user", "name": user.name, "fullname": user.name, "orgs": orgs}
    return answer_json(about | {"auth": {"type": "access_token", "accessToken": token}})


def create(call: Call) -> Answer:
    """A new repository with nothing but its .gitattributes."""
    asked = call.json()
    repo_id, kind = _named(call, asked)
    user = require_write(repo_id.split("/")[0], call.user)
    if known := call.hub.repos.get((kind, repo_id)):
        address = f"{call.hub.endpoint}/{known.location}"
        raise Refusal(409, f"You already created this {kind} repo: {repo_id}", body={"url": address})
    repo = call.hub.start_repo(repo_id, kind, asked.get("visibility") == "private", user.name)
    return answer_json({"url": f"{call.hub.endpoint}/{repo.location}", "name": repo_id, "id": repo_id})


def delete(call: Call) -> Answer:
    """Away with a repository."""
    repo_id, kind = _named(call, call.json())
    repo = see(call.hub.repos.get((kind, repo_id)), require_token(call.user))
    require_write(repo.namespace, call.user)
    del call.hub.repos[kind, repo_id]
    return Answer()


def _named(call: Call, asked: dict[str, Any]) -> tuple[str, str]:
    namespace = asked.get("organization") or require_token(call.user).name
    return f"{namespace}/{asked['name']}", asked.get("type") or "model"


def settings(call: Call) -> Answer:
    """Who can see a repository, and whether it is gated."""
    repo = call.repo()
    require_write(repo.namespace, call.user)
    asked = call.json()
    if "visibility" in asked:
        repo.private = asked["visibility"] == "private"
    if "gated" in asked:
        repo.gated = asked["gated"]
    return answer_json({"private": repo.private, "gated": repo.gated})


def auth_check(call: Call) -> Answer:
    """Whether the user may read the files, or write."""
    *_, write = call.names
    repo = call.repo()
    if write:
        require_write(repo.namespace, call.user)
    require_download(repo, call.user)
    return answer_json({})


def validate_yaml(call: Call) -> Answer:
    """What is wrong with the head of a model card."""
    errors, warnings = check_card(call.json()["content"])
    about = {
        "errors": [{"message": text} for text in errors],
        "warnings": [{"message": text} for text in warnings],
    }
    return answer_json(about, 400 if errors else 200)


def info(call: Call) -> Answer:
    """A repository at a revision: its hash, files and metadata."""
    *_, revision = call.names
    repo = call.repo()
    about = _about(call, repo, repo.find(revision or "main"))
    if expand := call.query.get("expand"):
        about = {key: value for key, value in about.items() if key in ("id", *expand)}
    return answer_json(about)


def _about(call: Call, repo: Repo, commit: Commit) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = []
    for path, entry in sorted(commit.tree.items()):
        about: dict[str, Any] = {"rfilename": path}
        if call.flag("blobs"):
            about |= {"size": entry.size, "blobId": entry.oid}
            if entry.lfs:
                length = len(pointer(entry.sha256, entry.size))
                about["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": length}
        siblings.append(about)
    card = _card(call, commit)
    return {
        "id": repo.id,
        "author": repo.namespace,
        "sha": commit.oid,
        "createdAt": stamp(repo.created),
        "lastModified": stamp(commit.date),
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": card_tags(card),
        "pipeline_tag": card.get("pipeline_tag"),
        "library_name": card.get("library_name"),
        "cardData": card,
        "siblings": siblings,
    }


def _card(call: Call, commit: Commit) -> dict[str, Any]:
    entry = commit.tree.get("README.md")
    if entry is None:
        return {}
    try:
        return read_card(call.hub.blobs.path(entry.sha256).read_text()) or {}
    except (yaml.YAMLError, TypeError):
        return {}


def commits(call: Call) -> Answer:
    """The commits that led to a revision, newest first."""
    *_, revision = call.names
    repo = call.repo()
    listed = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "authors": [{"user": commit.author}],
            "date": stamp(commit.date),
        }
        for commit in repo.history(repo.find(revision))
    ]
    return answer_json(listed)


def refs(call: Call) -> Answer:
    """Branches and tags, and pull requests if asked for."""
    repo = call.repo()

    def listed(table: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"{prefix}{name}", "targetCommit": oid} for name, oid in table.items()]

    about = {"branches": listed(repo.branches, "refs/heads/"), "tags": listed(repo.tags, "refs/tags/"), "converts": []}
    if call.flag("include_prs"):
        about["pullRequests"] = listed(repo.pulls, "refs/pr/")
    return answer_json(about)


def tag(call: Call) -> Answer:
    """A new tag on a revision."""
    repo, user, revision = _owned(call)
    return _point(repo, repo.tags, call.json()["tag"], repo.find(revision), user)


def tag_delete(call: Call) -> Answer:
    """Away with a tag."""
    repo, _, name = _owned(call)
    return _unpoint(repo.tags, name)


def branch(call: Call) -> Answer:
    """A new branch from a revision."""
    repo, user, name = _owned(call)
    if name.startswith("refs/"):
        raise Refusal(400, f"Invalid reference for a branch: {name}")
    return _point(repo, repo.branches, name, repo.find(call.json().get("startingPoint", "main")), user)


def branch_delete(call: Call) -> Answer:
    """Away with a branch, unless it is the main one."""
    repo, _, name = _owned(call)
    if name == "main":
        raise Refusal(403, "The main branch cannot be deleted")
    return _unpoint(repo.branches, name)


def _owned(call: Call) -> tuple[Repo, User, str]:
    *_, name = call.names
    repo = call.repo()
    return repo, require_write(repo.namespace, call.user), name


def _point(repo: Repo, table: dict[str, str], name: str, commit: Commit, user: User) -> Answer:
    if name in table:
        raise Refusal(409, f"Reference {name} exists already on {repo.id}")
    table[name] = commit.oid
    return answer_json({"name": name, "targetCommit": commit.oid, "by": user.name})


def _unpoint(table: dict[str, str], name: str) -> Answer:
    if name not in table:
        raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
    del table[name]
    return Answer()
