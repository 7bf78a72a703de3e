"""Xet storage: a folder that the client's hf_xet fills and reads by itself.

``local://`` is how Xet's own tests do without its storage server. Nobody promises that it stays, so no more than a test
or two should build on it. The folder takes one process at a time, until that process ends.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hub.messages import Answer, Call, Refusal, answer_json

RECORD = 48
"""Size in bytes of the header of a shard, and of every record after it."""
END = b"\xff" * 32
"""In place of a file's hash: no more files."""
VERIFIED, HASHED = 1 << 31, 1 << 30
"""Flags of a file: each of its segments has a second record; its sha256 has a record, the last one."""


@dataclass(frozen=True)
class Stored:
    """A file in Xet storage: the name it has there, and its size in bytes."""

    hash: str
    size: int


class Cas:
    """Content-addressed storage in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def files(self) -> dict[str, Stored]:
        """Every file that was brought, by its sha256."""
        shards = self._folder.glob("xet/xorbs/shards/*.mdb")
        return {sha256: stored for shard in shards for sha256, stored in read_shard(shard.read_bytes())}

    def token(self) -> Answer:
        """Where the storage is; hf_xet reads the body, huggingface_hub the headers."""
        place, until = f"local://{self._folder}", int(time.time()) + 3600
        headers = {"X-Xet-Cas-Url": place, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(until)}
        return answer_json({"casUrl": place, "accessToken": "xet", "exp": until}, headers=headers)


def read_shard(data: bytes) -> Iterator[tuple[str, Stored]]:
    """The files that a shard describes, by sha256; the format is xet-core's ``spec/shard.md``."""
    place = RECORD
    while (name := data[place : place + 32]) != END:
        flags, segments = struct.unpack_from("<II", data, place + 32)
        size = sum(struct.unpack_from("<I", data, place + (1 + i) * RECORD + 36)[0] for i in range(segments))
        place += RECORD * (1 + segments * (2 if flags & VERIFIED else 1))
        if flags & HASHED:
            yield _hex(data[place : place + 32]), Stored(_hex(name), size)
            place += RECORD


def _hex(name: bytes) -> str:
    """A hash as it is written: it is kept as four little-endian numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", name))


def storage_of(call: Call) -> Cas:
    """The storage, if the Hub has one."""
    if not call.hub.xet:
        raise Refusal(404, "Sorry, we can't find the page you are looking for.")
    return call.hub.cas
