"""Bytes on disk, each under the sha256 it is said to have."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hub.messages import PIECE


@dataclass(frozen=True)
class Received:
    """Bytes that came in and are not kept yet."""

    path: Path
    sha256: str
    size: int


class Blobs:
    """A folder of blobs."""

    def __init__(self, folder: Path) -> None:
        self._kept, self._incoming = folder / "kept", folder / "incoming"
        self._kept.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where a blob is."""
        return self._kept / sha256

    def receive(self, pieces: Iterable[bytes]) -> Received:
        """Write bytes to a file of their own; nothing stays if they end with an error."""
        path = self._incoming / uuid.uuid4().hex
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Received(path, digest.hexdigest(), size)

    def keep(self, received: Received, altered: bool = False) -> None:
        """Keep what was received; ``altered`` flips a byte of it first, under the same name."""
        if altered:
            with received.path.open("r+b") as file:
                file.seek(received.size // 2)
                byte = file.read(1)[0]
                file.seek(received.size // 2)
                file.write(bytes([byte ^ 1]))
        os.replace(received.path, self.path(received.sha256))

    def drop(self, received: Received) -> None:
        """Forget what was received."""
        received.path.unlink()

    def add(self, source: bytes | Path) -> Received:
        """Keep given bytes, or those of a file."""
        received = self.receive([source] if isinstance(source, bytes) else read_pieces(source))
        self.keep(received)
        return received


def read_pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes, in pieces."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
