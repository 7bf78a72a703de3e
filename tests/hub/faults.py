"""Faults that a test asks for: which request they befall, and what happens to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Action:
    """What happens to a request; made by the functions and names below."""

    kind: str
    code: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    function: Callable[[], object] | None = None


cut_before = Action("cut_before")
"""The connection is closed, and nothing is done."""

cut_after = Action("cut_after")
"""What was asked is done, and the connection is closed without an answer."""

wrong_bytes = Action("wrong_bytes")
"""One byte is flipped: in what an upload leaves in the store, or in what a download brings."""


def status(code: int, headers: Mapping[str, str] | None = None) -> Action:
    """Answered with this status, and nothing is done."""
    return Action("status", code=code, headers=dict(headers or {}))


def answered(body: bytes, code: int = 200, headers: Mapping[str, str] | None = None) -> Action:
    """Answered with this body, whatever was asked, and nothing is done."""
    return Action("status", code=code, headers=dict(headers or {}), body=body)


def answered_after(body: bytes, code: int = 200) -> Action:
    """What was asked is done, and answered with this body."""
    return Action("answered_after", code=code, body=body)


def slow(seconds: float) -> Action:
    """The body takes about this long: a file that comes in, else the answer that goes out."""
    return Action("slow", seconds=seconds)


def call(function: Callable[[], object]) -> Action:
    """``function`` runs before anything is done."""
    return Action("call", function=function)


def call_after(function: Callable[[], object]) -> Action:
    """``function`` runs when all is done, before the answer."""
    return Action("call_after", function=function)


@dataclass(frozen=True)
class Fault:
    """An action on request number ``nth`` (from 1, as of when the fault was added) to an endpoint, or on every one.

    It goes on for ``times`` requests. The endpoint ``*`` is any: ``nth`` then counts all requests.
    """

    endpoint: str
    nth: int | Literal["every"] = 1
    action: Action = cut_before
    times: int = 1

    def befalls(self, number: int) -> bool:
        """Whether it befalls the request with this number."""
        return self.nth == "every" or self.nth <= number < self.nth + self.times


class Faults:
    """The faults that are still to come, and those that came."""

    def __init__(self) -> None:
        self.fired: list[Fault] = []
        self._armed: list[Fault] = []
        self._seen: list[int] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Ask for a fault."""
        with self._lock:
            self._armed.append(fault)
            self._seen.append(0)
        return fault

    def clear(self) -> None:
        """Take back all faults; ``fired`` stays."""
        with self._lock:
            self._armed.clear()
            self._seen.clear()

    def due(self, endpoint: str) -> list[Action]:
        """What is to happen to a request that has just come in."""
        actions = []
        with self._lock:
            for i, fault in enumerate(self._armed):
                if fault.endpoint not in ("*", endpoint):
                    continue
                self._seen[i] += 1
                if fault.befalls(self._seen[i]):
                    self.fired.append(fault)
                    actions.append(fault.action)
        return actions
