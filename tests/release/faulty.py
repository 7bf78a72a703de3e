"""Every way of disturbing a publication that the tests try, and the publication in a process that can be killed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.hub.faults import (
    Action,
    Fault,
    answered,
    answered_after,
    cut_after,
    cut_before,
    slow,
    status,
    wrong_bytes,
)
from tests.processes import SERVER

READS = {
    "whoami": 1,
    "info": 8,
    "refs": 3,
    "tree": 3,
    "discussions": 3,
    "discussion": 1,
    "validate-yaml": 2,
    "resolve-head": 2,
    "resolve": 2,
    "cdn": 2,
}
"""Requests that change nothing, and how many of the first of each are disturbed."""
WRITES = {
    "create": 1,
    "discussion-create": 1,
    "preupload": 2,
    "lfs-batch": 2,
    "lfs-put": 2,
    "lfs-verify": 2,
    "commit": 2,
    "tag": 1,
    "settings": 1,
    "discussion-status": 1,
}
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Accept the terms of this network</body></html>"
NO_ANSWERS = {"object": b"{}", "null": b"null", "list": b"[]", "page": PAGE}
"""Bodies that are no answer to anything."""


def name_of(fault: Fault) -> str:
    """For a test's name: ``commit-2-cut_after``."""
    kind, body = fault.action.kind, fault.action.body
    kind = f"status{fault.action.code}" if kind == "status" else kind
    said = [name for name, known in NO_ANSWERS.items() if known == body]
    return "-".join((fault.endpoint, str(fault.nth), kind, *said))


def _each(requests: dict[str, int], actions: Sequence[Action]) -> list[Fault]:
    return [
        Fault(endpoint, nth, action)
        for endpoint, count in requests.items()
        for action in actions
        for nth in range(1, count + 1)
    ]


OUTAGES = [
    *_each(READS, (status(503), cut_before)),
    *_each(WRITES, (status(503), cut_before, cut_after)),
    *(Fault(endpoint, 1, status(403)) for endpoint in ("lfs-batch", "lfs-put", "commit", "tag", "settings")),
    *(Fault(endpoint, 1, slow(0.4)) for endpoint in ("lfs-put", "resolve", "cdn", "commit")),
    *(Fault(endpoint, 1, wrong_bytes) for endpoint in ("resolve", "cdn")),
]
"""Faults that are over when the command is repeated."""
ONCE = dict.fromkeys(READS | WRITES, 1)
BROKEN = [
    *_each(ONCE, [answered(body) for body in NO_ANSWERS.values()]),
    *(Fault("commit", 2, answered(body)) for body in NO_ANSWERS.values()),
    *(Fault(endpoint, 1, answered(b"[{}]")) for endpoint in ("tree", "discussions", "refs", "info", "whoami")),
    *(Fault("info", nth, answered(body)) for nth in (2, 3, 7) for body in (b"{}", PAGE)),
    *(Fault("tree", nth, answered(body)) for nth in (2, 3) for body in (b"{}", b"[]", PAGE)),
    *_each(
        {"create": 1, "discussion-create": 1, "lfs-batch": 1, "lfs-put": 1, "commit": 2, "tag": 1, "settings": 1},
        [answered_after(body) for body in (b"{}", PAGE)],
    ),
]
"""Answers that are none, with status 200: what was asked is not done, or done."""


def is_tried_again(fault: Fault) -> bool:
    """Whether a second try follows: of faults at one place that leave the same behind, after one."""
    return fault.action.kind != "status" or fault.action.code == 403 or fault.action.body == PAGE


def _publish(endpoint: str, home: str, release: str, repo: str, output: str) -> None:
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    constants.HUGGINGFACE_CO_URL_TEMPLATE, constants.ENDPOINT = endpoint + template, endpoint
    constants.HF_HUB_CACHE, constants.HF_HUB_DISABLE_XET = home, True
    os.environ["HF_TOKEN"] = "hf_alice"
    tempfile.tempdir = str(Path(output).parent)
    from excise.cli import main

    with Path(output).open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        main(["publish", release, "--repo", repo, "--public-key", str(Path(release).parent.parent / "key.pub")])


def publishing(endpoint: str, home: Path, release: Path, repo: str, output: Path) -> BaseProcess:
    """A process, not yet started, that publishes; what it prints goes to ``output``, temporary files beside that."""
    arguments = (endpoint, str(home), str(release), repo, str(output))
    return SERVER.Process(target=_publish, args=arguments, daemon=True)
