"""Routes that list and send files."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from tests.hub.access import require_download
from tests.hub.changes import folders
from tests.hub.community import stamp
from tests.hub.messages import Answer, Call, FileRange, Refusal, answer_json
from tests.hub.store import Commit, Entry, Repo, below, pointer
from tests.hub.xet import storage_of


def tree(call: Call) -> Answer:
    """The files of a folder, or with ``recursive`` all below it, page by page."""
    kind, repo_id, revision, folder = call.names
    repo = call.repo()
    commit = repo.find(revision)
    start = f"{folder}/" if folder else ""
    paths = [path for path in {*commit.tree, *folders(commit.tree)} if path.startswith(start)]
    if folder and not paths:
        raise Refusal(404, f"{folder} does not exist on {revision!r}", "EntryNotFound")
    if not call.flag("recursive"):
        paths = [path for path in paths if "/" not in path.removeprefix(start)]
    paths.sort()
    first, size = int(call.option("cursor", "0")), call.hub.tree_page
    page = [_describe(repo, commit, path, call.flag("expand")) for path in paths[first : first + size]]
    headers = {}
    if first + size < len(paths):
        query = {key: values[0] for key, values in call.query.items()} | {"cursor": str(first + size)}
        tail = f"/{quote(folder, safe='')}" if folder else ""
        address = f"{call.hub.endpoint}/api/{kind}/{repo_id}/tree/{quote(revision, safe='')}{tail}?{urlencode(query)}"
        headers["Link"] = f'<{address}>; rel="next"'
    return answer_json(page, headers=headers)


def paths_info(call: Call) -> Answer:
    """Files and folders that were asked for by name; what does not exist is left out."""
    *_, revision = call.names
    repo = call.repo()
    commit = repo.find(revision)
    form = parse_qs(call.content.decode())
    expand = form.get("expand", ["false"])[0].lower() == "true"
    paths = [path.strip("/") for path in form.get("paths", [])]
    return answer_json([_describe(repo, commit, path, expand) for path in paths if below(commit.tree, path)])


def resolve(call: Call) -> Answer:
    """A file, or where it is: large ones are elsewhere, under an address that needs no token."""
    *_, revision, path = call.names
    repo = call.repo()
    commit = repo.find(revision)
    require_download(repo, call.user)
    headers = {"X-Repo-Commit": commit.oid}
    entry = commit.tree.get(path)
    if entry is None:
        raise Refusal(404, "Entry not found", "EntryNotFound", headers=headers)
    if not entry.lfs:
        return _send(call, entry, headers)
    headers |= {"X-Linked-Size": str(entry.size), "X-Linked-Etag": f'"{entry.etag}"'}
    headers |= {"ETag": f'"{entry.oid}"', "Location": call.hub.link(entry)}
    if entry.xet:
        address = f"{call.hub.endpoint}/api/{repo.kind}s/{repo.id}/xet-read-token/{commit.oid}"
        headers |= {"X-Xet-Hash": entry.xet, "Link": f'<{address}>; rel="xet-auth"'}
    return Answer(302, headers)


def cdn(call: Call) -> Answer:
    """A large file, for who has its address."""
    entry = call.hub.linked.get(call.names[0])
    if entry is None:
        raise Refusal(403, "Access denied")
    if entry.xet:
        raise Refusal(404, "This file came by Xet, and only Xet brings it back")
    return _send(call, entry, {})


def xet_read_token(call: Call) -> Answer:
    """Where to get large files by Xet."""
    require_download(call.repo(), call.user)
    return storage_of(call).token()


def _send(call: Call, entry: Entry, headers: dict[str, str]) -> Answer:
    headers |= {"ETag": f'"{entry.etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    path, asked = call.hub.blobs.path(entry.sha256), re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("range", ""))
    if asked is None or not any(asked.groups()):
        return Answer(200, headers, file=FileRange(path, 0, entry.size))
    start = int(asked[1]) if asked[1] else max(0, entry.size - int(asked[2]))
    stop = min(int(asked[2]) + 1, entry.size) if asked[1] and asked[2] else entry.size
    if start >= stop:
        raise Refusal(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{entry.size}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{entry.size}"
    return Answer(206, headers, file=FileRange(path, start, stop - start))


def _describe(repo: Repo, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    entry = commit.tree.get(path)
    if entry is None:
        names = "".join(f"{name}{found.oid}" for name, found in sorted(below(commit.tree, path).items()))
        about: dict[str, Any] = {"type": "directory", "oid": hashlib.sha1(names.encode()).hexdigest(), "size": 0}
    else:
        about = {"type": "file", "oid": entry.oid, "size": entry.size}
        if entry.lfs:
            length = len(pointer(entry.sha256, entry.size))
            about["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": length}
        if entry.xet:
            about["xetHash"] = entry.xet
    about["path"] = path
    if expand:
        last = repo.last_change(commit, path)
        about["lastCommit"] = {"id": last.oid, "title": last.title, "date": stamp(last.date)}
    return about
