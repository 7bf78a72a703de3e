"""Which address and method leads to which route."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from tests.hub import files, repositories, talks, uploads
from tests.hub.messages import Answer, Call, Refusal


@dataclass(frozen=True)
class Route:
    """``endpoint`` is the name that faults and the record of requests use.

    A route that ``streams`` reads the body itself, without the lock; one in ``storage`` is reached without a token
    and at another port.
    """

    endpoint: str
    method: str
    pattern: str
    function: Callable[[Call], Answer]
    streams: bool = False
    storage: bool = False


REPO = "/api/(models|datasets)/([^/]+/[^/]+)"
FILE = "/(?:(datasets)/)?([^/]+/[^/]+)"


def not_here(call: Call) -> Answer:
    """For all that this server does not do."""
    raise Refusal(404, "Sorry, we can't find the page you are looking for.")


ROUTES = (
    Route("whoami", "GET", "/api/whoami-v2", repositories.whoami),
    Route("create", "POST", "/api/repos/create", repositories.create),
    Route("delete", "DELETE", "/api/repos/delete", repositories.delete),
    Route("validate-yaml", "POST", "/api/validate-yaml", repositories.validate_yaml),
    Route("settings", "PUT", f"{REPO}/settings", repositories.settings),
    Route("auth-check", "GET", f"{REPO}/auth-check(/write)?", repositories.auth_check),
    Route("info", "GET", f"{REPO}(?:/revision/([^/]+))?", repositories.info),
    Route("commits", "GET", f"{REPO}/commits/([^/]+)", repositories.commits),
    Route("refs", "GET", f"{REPO}/refs", repositories.refs),
    Route("tag", "POST", f"{REPO}/tag/([^/]+)", repositories.tag),
    Route("tag-delete", "DELETE", f"{REPO}/tag/([^/]+)", repositories.tag_delete),
    Route("branch", "POST", f"{REPO}/branch/([^/]+)", repositories.branch),
    Route("branch-delete", "DELETE", f"{REPO}/branch/([^/]+)", repositories.branch_delete),
    Route("tree", "GET", f"{REPO}/tree/([^/]+)(?:/(.+))?", files.tree),
    Route("paths-info", "POST", f"{REPO}/paths-info/([^/]+)", files.paths_info),
    Route("resolve-head", "HEAD", f"{FILE}/resolve/([^/]+)/(.+)", files.resolve),
    Route("resolve", "GET", f"{FILE}/resolve/([^/]+)/(.+)", files.resolve),
    Route("preupload", "POST", f"{REPO}/preupload/([^/]+)", uploads.preupload),
    Route("commit", "POST", f"{REPO}/commit/([^/]+)", uploads.commit),
    Route("lfs-batch", "POST", rf"{FILE}\.git/info/lfs/objects/batch", uploads.lfs_batch),
    Route("lfs-verify", "POST", rf"{FILE}\.git/info/lfs/objects/verify", uploads.lfs_verify),
    Route("xet-write-token", "GET", f"{REPO}/xet-write-token/([^/]+)", uploads.xet_write_token),
    Route("xet-read-token", "GET", f"{REPO}/xet-read-token/([^/]+)", files.xet_read_token),
    Route("discussions", "GET", f"{REPO}/discussions", talks.discussions),
    Route("discussion-create", "POST", f"{REPO}/discussions", talks.discussion_create),
    Route("discussion", "GET", rf"{REPO}/discussions/(\d+)", talks.discussion),
    Route("discussion-comment", "POST", rf"{REPO}/discussions/(\d+)/comment", talks.discussion_comment),
    Route("discussion-status", "POST", rf"{REPO}/discussions/(\d+)/status", talks.discussion_status),
    Route("merge", "POST", rf"{REPO}/discussions/(\d+)/merge", talks.merge_pull_request),
    Route("cdn", "GET", "/cdn/([^/]+)", files.cdn, storage=True),
    Route("lfs-put", "PUT", "/lfs/([^/]+)", uploads.lfs_put, streams=True, storage=True),
    Route("lfs-part", "PUT", r"/lfs/([^/]+)/(\d+)", uploads.lfs_part, streams=True, storage=True),
    Route("lfs-complete", "POST", "/lfs/([^/]+)/complete", uploads.lfs_complete, streams=True, storage=True),
)
UNKNOWN = Route("unknown", "", "", not_here)


def find_route(method: str, path: str, storage: bool) -> tuple[Route, tuple[str, ...]]:
    """The route of an address, and the parts of the address it wants, decoded."""
    for route in ROUTES:
        if route.method == method and route.storage == storage and (found := re.fullmatch(route.pattern, path)):
            return route, tuple(unquote(part or "") for part in found.groups())
    return UNKNOWN, ()
