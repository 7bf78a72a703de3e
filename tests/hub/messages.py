"""What a route is given, what it gives back, and how it refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.hub.access import User
    from tests.hub.server import Hub
    from tests.hub.store import Repo

PIECE = 1 << 20


@dataclass(frozen=True)
class FileRange:
    """Bytes ``start`` to ``start + length`` of a file on disk."""

    path: Path
    start: int
    length: int


@dataclass
class Answer:
    """A response: ``file``, if there is one, is its body."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: FileRange | None = None

    @property
    def length(self) -> int:
        """Size of the body in bytes."""
        return self.file.length if self.file else len(self.body)

    def pieces(self, size: int = PIECE) -> Iterator[bytes]:
        """The body, ``size`` bytes at a time."""
        if self.file is None:
            yield from (self.body[i : i + size] for i in range(0, len(self.body), size))
            return
        with self.file.path.open("rb") as stream:
            stream.seek(self.file.start)
            left = self.file.length
            while left:
                piece = stream.read(min(size, left))
                left -= len(piece)
                yield piece


def answer_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A response whose body is JSON."""
    return Answer(
        status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, json.dumps(value).encode()
    )


class Refusal(Exception):
    """An error response: ``code`` is the word by which the client knows what kind of error it is."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "",
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.body, self.headers = dict(body or {}), dict(headers or {})

    def answer(self) -> Answer:
        """The response to send."""
        headers = {"X-Error-Message": self.message.replace("\n", " "), **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return answer_json({"error": self.message, **self.body}, self.status, headers)


class Body:
    """A request's body, of known length or chunked, read once and in pieces."""

    def __init__(self, stream: BufferedIOBase, headers: Mapping[str, str]) -> None:
        self._stream = stream
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._length = int(headers.get("content-length", 0))
        self._size, self._pause = PIECE, 0.0
        self._pieces = self._read_chunked() if self._chunked else self._read_known()

    def slow(self, seconds: float) -> None:
        """Take about ``seconds`` to read it, in twenty pieces."""
        self._size, self._pause = max(1, self._length // 20), seconds / 20

    def pieces(self) -> Iterator[bytes]:
        """What has not been read yet."""
        for piece in self._pieces:
            time.sleep(self._pause)
            yield piece

    def read(self) -> bytes:
        """All that has not been read yet."""
        return b"".join(self.pieces())

    def drain(self) -> None:
        """Read the rest and forget it, so that the connection can be used again."""
        for _ in self.pieces():
            pass

    def _read_known(self) -> Iterator[bytes]:
        left = self._length
        while left:
            piece = self._exactly(min(self._size, left))
            left -= len(piece)
            yield piece

    def _read_chunked(self) -> Iterator[bytes]:
        while size := int(self._line() or b"0", 16):
            yield self._exactly(size)
            self._line()
        while self._line():
            pass

    def _line(self) -> bytes:
        line = self._stream.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the client went away in the middle of a request")
        return line.strip()

    def _exactly(self, size: int) -> bytes:
        piece = self._stream.read(size)
        if len(piece) < size:
            raise ConnectionError("the client went away in the middle of a request")
        return piece


@dataclass
class Call:
    """A request as a route sees it: ``names`` are the parts of the address, decoded."""

    hub: Hub
    names: tuple[str, ...]
    query: dict[str, list[str]]
    headers: dict[str, str]
    user: User | None
    body: Body
    content: bytes = b""
    altered: bool = False

    def repo(self) -> Repo:
        """The repository that the address names, if the user may know of it."""
        return self.hub.seen(self.names[0] or "models", self.names[1], self.user)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.content or b"{}")

    def flag(self, name: str) -> bool:
        """Whether a yes-or-no parameter of the address says yes."""
        return self.query.get(name, [""])[0].lower() in ("1", "true")

    def option(self, name: str, default: str = "") -> str:
        """A parameter of the address."""
        return self.query.get(name, [default])[0]
