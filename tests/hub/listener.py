"""The server's sockets: requests come in, faults befall them, answers go out."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.hub.faults import Action
from tests.hub.messages import PIECE, Answer, Body, Call, Refusal
from tests.hub.routes import Route, find_route

if TYPE_CHECKING:
    from tests.hub.server import Hub


class Listener(ThreadingHTTPServer):
    """One port, a thread for each connection; ``storage`` is the port for what needs no token."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: Hub, storage: bool) -> None:
        self.hub, self.storage = hub, storage
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            self.hub.failures.append(error)

    def close(self) -> None:
        """Stop listening and hang up on everyone."""
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One connection, which may bring many requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def _serve(self) -> None:
        hub, address = self.server.hub, urlsplit(self.path)
        route, names = find_route(self.command, address.path, self.server.storage)
        headers = {name.lower(): value for name, value in self.headers.items()}
        user = None if route.storage else hub.user_of(headers)
        record = hub.record(self.command, route.endpoint, self.path, user, headers)
        actions = {action.kind: action for action in hub.faults.due(route.endpoint)}
        body = Body(self.rfile, headers)
        call = Call(hub, names, parse_qs(address.query), headers, user, body, altered="wrong_bytes" in actions)
        slow = actions.get("slow", Action("slow")).seconds
        if route.streams and slow:
            body.slow(slow)
        _run(actions.get("call"))
        if "cut_before" in actions:
            return self._cut()
        if "status" in actions:
            body.drain()
            answer = _ordered(actions["status"])
        else:
            answer = self._answer(route, call)
        if "answered_after" in actions:
            answer = _ordered(actions["answered_after"])
        _run(actions.get("call_after"))
        if "cut_after" in actions:
            return self._cut()
        record.status = answer.status
        self._send(answer, call.altered and not route.streams, 0 if route.streams else slow)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _answer(self, route: Route, call: Call) -> Answer:
        hub = call.hub
        try:
            if not route.streams:
                call.content = call.body.read()
            if call.user is None and not route.storage and "authorization" in call.headers:
                raise Refusal(401, "Invalid credentials in Authorization header")
            with contextlib.nullcontext() if route.streams else hub.lock:
                return route.function(call)
        except Refusal as refusal:
            return refusal.answer()
        except ConnectionError:
            raise
        except Exception as error:
            hub.failures.append(error)
            return Refusal(500, f"Internal Error: {error!r}").answer()
        finally:
            call.body.drain()

    def _send(self, answer: Answer, altered: bool, seconds: float) -> None:
        """Send an answer, with its middle byte flipped if ``altered``, in twenty pieces if it is to take long."""
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(answer.length))
        self.send_header("X-Request-Id", uuid.uuid4().hex)
        self.end_headers()
        if self.command == "HEAD":
            return
        sent, middle = 0, answer.length // 2
        for piece in answer.pieces(max(1, answer.length // 20) if seconds else PIECE):
            time.sleep(seconds / 20)
            if altered and sent <= middle < sent + len(piece):
                flipped = bytearray(piece)
                flipped[middle - sent] ^= 1
                piece = bytes(flipped)
            self.wfile.write(piece)
            sent += len(piece)

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the hub keeps the record."""


def _ordered(action: Action) -> Answer:
    """The answer that a test asked for."""
    return Answer(action.code, dict(action.headers), action.body)


def _run(action: Action | None) -> None:
    if action and action.function:
        action.function()
