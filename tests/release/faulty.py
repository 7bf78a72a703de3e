"""Every way of disturbing a publication that the tests try, and the publication in a process that can be killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from pathlib import Path

from tests.hub.faults import Action, Fault, cut_after, cut_before, slow, status, wrong_bytes

READS = {
    "whoami": 1,
    "info": 5,
    "refs": 2,
    "tree": 4,
    "discussions": 2,
    "discussion": 1,
    "commits": 1,
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


def name_of(fault: Fault) -> str:
    """For a test's name: ``commit-2-cut_after``."""
    kind = f"status{fault.action.code}" if fault.action.kind == "status" else fault.action.kind
    return f"{fault.endpoint}-{fault.nth}-{kind}"


def _each(requests: dict[str, int], actions: tuple[Action, ...]) -> list[Fault]:
    return [
        Fault(endpoint, nth, action)
        for endpoint, count in requests.items()
        for nth in range(1, count + 1)
        for action in actions
    ]


OUTAGES = [
    *_each(READS, (status(503), cut_before)),
    *_each(WRITES, (status(503), cut_before, cut_after)),
    *(Fault(endpoint, 1, status(403)) for endpoint in ("lfs-batch", "lfs-put", "commit", "tag", "settings")),
    *(Fault(endpoint, 1, slow(0.4)) for endpoint in ("lfs-put", "resolve", "cdn", "commit")),
    *(Fault(endpoint, 1, wrong_bytes) for endpoint in ("resolve", "cdn")),
]
"""Faults that are over when the command is repeated."""


def _publish(endpoint: str, home: str, release: str, repo: str, output: str) -> None:
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    constants.HUGGINGFACE_CO_URL_TEMPLATE, constants.ENDPOINT = endpoint + template, endpoint
    constants.HF_HUB_CACHE, constants.HF_HUB_DISABLE_XET = home, True
    os.environ["HF_TOKEN"] = "hf_alice"
    from excise.cli import main

    with Path(output).open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        main(["publish", release, "--repo", repo, "--public-key", str(Path(release).parent.parent / "key.pub")])


_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.release.faulty", "excise.cli", "excise.release.publish"])


def publishing(
    endpoint: str, home: Path, release: Path, repo: str, output: Path
) -> multiprocessing.process.BaseProcess:
    """A process, not yet started, that publishes; what it prints goes to ``output``."""
    arguments = (endpoint, str(home), str(release), repo, str(output))
    return _SERVER.Process(target=_publish, args=arguments, daemon=True)
