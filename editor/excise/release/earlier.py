"""What on the default branch is an earlier release of excise, and what is somebody's own.

The earlier release's record says so, if it has the sha256 that it states of itself: a file is the release's if it is
listed there with the bytes that it has. All else is somebody's.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, RepoFile
from pydantic import BaseModel, TypeAdapter, ValidationError

from excise.files.hashing import sha256_file
from excise.files.models import Count, Hash
from excise.release.provenance import RECORD, SIGNATURE
from excise.release.remote_files import fetched


class _Program(BaseModel):
    version: str


class _File(BaseModel):
    size: Count
    sha256: Hash


class _Record(BaseModel):
    """Of the record of any version of excise, what says which files are the release's."""

    excise: _Program
    files: dict[str, _File]
    sha256: Hash


@dataclass(frozen=True)
class Revision:
    """A revision of a repository, whose files may be looked at."""

    api: HfApi
    repo: str
    sha: str
    tree: Mapping[str, RepoFile]
    scratch: Path

    def not_released(self, names: Iterable[str]) -> list[str]:
        """Those of its files that are of no earlier release.

        Args:
            names: of files in the tree.
        """
        names = sorted(names)
        if not names:
            return []
        record = self._record()
        return [name for name in names if record is None or not self._is_released(name, record)]

    def _record(self) -> tuple[_Record, str] | None:
        """The record that is there, and the file's sha256; None if there is none, or one that excise did not write."""
        if RECORD not in self.tree:
            return None
        with fetched(self.api, self.repo, RECORD, self.sha, self.scratch) as path:
            data = path.read_bytes()
        try:
            text = data.decode()
            record = _Record.model_validate_json(text)
        except (ValidationError, ValueError):
            return None
        before, _, after = text.rpartition(record.sha256)
        stated = hashlib.sha256(f"{before}{after}".encode()).hexdigest()
        return (record, hashlib.sha256(data).hexdigest()) if stated == record.sha256 else None

    def _is_released(self, name: str, found: tuple[_Record, str]) -> bool:
        record, digest = found
        if name == RECORD:
            return True
        if name == SIGNATURE:
            with fetched(self.api, self.repo, name, self.sha, self.scratch) as path:
                return _is_signature_of(path, digest)
        listed, file = record.files.get(name), self.tree[name]
        if listed is None or listed.size != file.size:
            return False
        if file.lfs is not None:
            return file.lfs.sha256 == listed.sha256
        with fetched(self.api, self.repo, name, self.sha, self.scratch) as path:
            return sha256_file(path) == listed.sha256


def _is_signature_of(path: Path, digest: str) -> bool:
    """Whether a signature speaks of a record with this sha256, be it with a valid key or not."""
    try:
        payload: Any = json.loads(base64.b64decode(json.loads(path.read_bytes())["dsseEnvelope"]["payload"]))
        signed = TypeAdapter(list[dict[str, Any]]).validate_python(payload["predicate"]["resources"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return any(part.get("name") == RECORD and part.get("digest") == digest for part in signed)
