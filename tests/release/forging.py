"""What a forger would do to a release, who knows the format and has not the key; and what verifying finds then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from excise.release.provenance import RECORD, File, Record, read_record, write_record
from excise.release.verify import verify

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def found(release: Path, base: Path | None = None, key: Path | None = None) -> list[str]:
    """Every fault that verifying finds."""
    return [fault for finding in verify(release, key, base) for fault in finding.faults]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def forge(release: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record, and make sizes and hashes of all files, and its own, consistent again."""
    content = read_record(release).model_dump()
    change(content)
    record = Record.model_validate(content)
    datas = {name: (release / name).read_bytes() for name in record.files}
    files = {name: File(size=len(data), sha256=sha256(data)) for name, data in datas.items()}
    write_record(release, record.model_copy(update={"files": files}))


def content_of(release: Path) -> dict[str, Any]:
    """The record as plain JSON."""
    content: dict[str, Any] = json.loads((release / RECORD).read_text(encoding="utf-8"))
    return content


def write_content(release: Path, content: dict[str, Any]) -> None:
    """Write a record that may be of any shape, under a sha256 that is right."""

    def text(digest: str) -> str:
        return json.dumps(content | {"sha256": digest}, indent=1, ensure_ascii=False) + "\n"

    (release / RECORD).write_text(text(sha256(text("").encode())), encoding="utf-8")
