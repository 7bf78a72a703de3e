"""The command in a process of its own, with the Hub of a test as its Hub and nothing of the user's around it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.hub.server import Hub

TOKEN = "hf_alice"


def environment(hub: Hub, home: Path, token: str | None = TOKEN) -> dict[str, str]:
    """What the client reads when it is imported; ``home`` is where it keeps its cache."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    return kept | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        **({"HF_TOKEN": token} if token else {}),
    }


def excise(
    hub: Hub,
    home: Path,
    *arguments: object,
    token: str | None = TOKEN,
    more: Mapping[str, str] | None = None,
    started: Callable[[int], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``excise`` with ``more`` in its environment; ``started`` is told the process's number."""
    with subprocess.Popen(
        [sys.executable, "-m", "excise", *map(str, arguments)],
        env=environment(hub, home, token) | dict(more or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if started:
            started(process.pid)
        output, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
