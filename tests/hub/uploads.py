"""Routes that bring files in and make commits of them."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from tests.hub.access import User, require_token, require_write
from tests.hub.blobs import Received, read_pieces
from tests.hub.changes import apply_operations, open_pull_request
from tests.hub.messages import Answer, Call, Refusal, answer_json
from tests.hub.store import Commit, Repo, is_large
from tests.hub.xet import storage_of


@dataclass
class Upload:
    """A large file that the client was told to bring, and the parts that came."""

    repo: Repo
    sha256: str
    size: int
    parts: dict[int, Received] = field(default_factory=dict)


def preupload(call: Call) -> Answer:
    """For each file: whether it is a large one, and what is under its name now."""
    *_, revision = call.names
    repo = call.repo()
    _require_target(call, repo, revision)
    tree = repo.find(revision).tree
    entry = tree.get(".gitattributes")
    attributes = call.hub.blobs.path(entry.sha256).read_text() if entry else ""
    files = []
    for file in call.json()["files"]:
        large = is_large(file["path"], file["size"], base64.b64decode(file["sample"]), attributes)
        about = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if file["path"] in tree:
            about["oid"] = tree[file["path"]].etag
        files.append(about)
    return answer_json({"files": files})


def lfs_batch(call: Call) -> Answer:
    """For each large file: where to bring it, or nothing if the repository has it."""
    repo = call.repo()
    asked = call.json()
    if "ref" in asked:
        _require_target(call, repo, asked["ref"]["name"])
    else:
        require_token(call.user)
    objects = []
    for wanted in asked["objects"]:
        about = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in repo.stored:
            about["actions"] = _actions(call, repo, wanted["oid"], wanted["size"])
        objects.append(about)
    return answer_json({"transfer": "basic", "objects": objects})


def _actions(call: Call, repo: Repo, sha256: str, size: int) -> dict[str, Any]:
    hub, ticket = call.hub, secrets.token_urlsafe(24)
    hub.uploads[ticket] = Upload(repo, sha256, size)
    href = f"{hub.storage}/lfs/{ticket}"
    upload: dict[str, Any] = {"href": href}
    if size > hub.multipart_above:
        parts = range(1, ceil(size / hub.part_size) + 1)
        upload = {"href": f"{href}/complete"}
        upload["header"] = {"chunk_size": str(hub.part_size), **{str(part): f"{href}/{part}" for part in parts}}
    return {"upload": upload, "verify": {"href": f"{hub.endpoint}/{repo.location}.git/info/lfs/objects/verify"}}


def lfs_put(call: Call) -> Answer:
    """The bytes of a large file, under an address that needs no token."""
    upload = _upload(call)
    return _keep(call, upload, call.hub.blobs.receive(call.body.pieces()))


def lfs_part(call: Call) -> Answer:
    """One part of a large file."""
    upload = _upload(call)
    part = call.hub.blobs.receive(call.body.pieces())
    with call.hub.lock:
        before = upload.parts.get(int(call.names[1]))
        upload.parts[int(call.names[1])] = part
    if before is not None:
        call.hub.blobs.drop(before)
    return Answer(headers={"ETag": f'"{part.sha256}"'})


def lfs_complete(call: Call) -> Answer:
    """The parts of a large file, put together."""
    upload, asked = _upload(call), json.loads(call.body.read())
    if upload.sha256 in upload.repo.stored:
        return Answer()
    parts = []
    for wanted in asked["parts"]:
        part = upload.parts.get(wanted["partNumber"])
        if part is None or wanted["etag"] != f'"{part.sha256}"':
            raise Refusal(400, f"InvalidPart: {wanted['partNumber']}")
        parts.append(part)
    pieces = (piece for part in parts for piece in read_pieces(part.path))
    answer = _keep(call, upload, call.hub.blobs.receive(pieces))
    for part in parts:
        call.hub.blobs.drop(part)
    return answer


def _upload(call: Call) -> Upload:
    upload: Upload | None = call.hub.uploads.get(call.names[0])
    if upload is None:
        raise Refusal(403, "Access denied")
    return upload


def _keep(call: Call, upload: Upload, received: Received) -> Answer:
    if (received.sha256, received.size) != (upload.sha256, upload.size):
        call.hub.blobs.drop(received)
        raise Refusal(400, "BadDigest: the bytes received are not those that were announced")
    with call.hub.lock:
        call.hub.blobs.keep(received, call.altered)
        upload.repo.stored.add(upload.sha256)
    return Answer(headers={"ETag": f'"{received.sha256}"'})


def lfs_verify(call: Call) -> Answer:
    """Whether a large file has arrived."""
    repo, asked = call.repo(), call.json()
    if asked["oid"] not in repo.stored or call.hub.blobs.path(asked["oid"]).stat().st_size != asked["size"]:
        raise Refusal(404, f"LFS object {asked['oid']} was not found")
    return answer_json({"message": "Object verified"})


def xet_write_token(call: Call) -> Answer:
    """Where to bring large files by Xet."""
    *_, revision = call.names
    _require_target(call, call.repo(), revision)
    return storage_of(call).token()


def commit(call: Call) -> Answer:
    """A commit on a branch or a pull request, or with ``create_pr`` a pull request of its own."""
    *_, revision = call.names
    repo = call.repo()
    user = _require_target(call, repo, revision)
    lines = [json.loads(line) for line in call.content.splitlines()]
    head, operations = lines[0]["value"], lines[1:]
    if call.flag("create_pr"):
        return _commit_pull_request(call, repo, revision, user, head, operations)
    table, key = repo.references(revision)
    if table is repo.pulls and repo.discussions[int(key) - 1].status in ("merged", "closed"):
        raise Refusal(403, "This pull request takes no more commits")
    before = repo.commits[table[key]]
    if not before.oid.startswith(head.get("parentCommit", "")):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    after = _commit_on(call, repo, before, user, head, operations)
    table[key] = after.oid
    if table is repo.pulls:
        repo.discussions[int(key) - 1].add("commit", user.name, {"subject": after.title, "oid": after.oid})
    return answer_json(_landed(call, repo, after))


def _commit_pull_request(
    call: Call, repo: Repo, revision: str, user: User, head: dict[str, Any], operations: list[dict[str, Any]]
) -> Answer:
    """As on the Hub, ``parentCommit`` is where the pull request starts from; it need not be the branch's head."""
    table, branch = repo.references(revision)
    if table is not repo.branches:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    base = repo.find(head.get("parentCommit", revision))
    after = _commit_on(call, repo, base, user, head, operations)
    pull = open_pull_request(repo, branch, base, after.title, after.message, user.name, call.hub.commit_pr_status)
    repo.pulls[str(pull.number)] = after.oid
    pull.add("commit", user.name, {"subject": after.title, "oid": after.oid})
    address = f"{call.hub.endpoint}/{repo.location}/discussions/{pull.number}"
    return answer_json(_landed(call, repo, after) | {"pullRequestUrl": address})


def _commit_on(
    call: Call, repo: Repo, before: Commit, user: User, head: dict[str, Any], operations: list[dict[str, Any]]
) -> Commit:
    hub = call.hub
    tree = apply_operations(repo, before.tree, operations, hub.blobs, hub.cas.files() if hub.xet else {})
    return repo.add(before.oid, tree, head["summary"], head.get("description", ""), user.name)


def _landed(call: Call, repo: Repo, made: Commit) -> dict[str, Any]:
    address = f"{call.hub.endpoint}/{repo.location}/commit/{made.oid}"
    return {"success": True, "commitOid": made.oid, "commitUrl": address, "hookOutput": ""}


def _require_target(call: Call, repo: Repo, revision: str) -> User:
    """Anyone who can write may open a pull request and add to their own; the rest is for the owners."""
    user = require_token(call.user)
    number = revision.removeprefix("refs/pr/")
    theirs = number in repo.pulls and repo.discussions[int(number) - 1].author == user.name
    return user if call.flag("create_pr") or theirs else require_write(repo.namespace, user)
