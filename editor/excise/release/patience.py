"""A limit to how long the Hub's client waits for a server that has stopped answering; its own is none."""

from __future__ import annotations

from functools import cache

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

SECONDS = 120.0
"""Without a byte in either direction; large files may take as long as they take."""


@cache
def limit_waiting() -> None:
    """Set the limit, once, for this process."""

    def limited() -> httpx2.Client:
        client = default_client_factory()
        client.timeout = httpx2.Timeout(SECONDS)
        return client

    set_client_factory(limited)
