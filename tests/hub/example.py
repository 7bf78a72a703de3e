"""A folder to upload, and what a Hub says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import HfHubHTTPError

CARD = b"---\nlicense: mit\ntags: [test]\n---\nA model.\n"
WEIGHTS = bytes(range(256)) * 4000


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def additions(folder: Path) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path, data) for path, data in contents(folder).items()]


def status_of(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return error.value.response.status_code
