"""What a stage says of its work while it works. Who listens is the job's business (`excise.job.progress`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """How far a stage is, in its own unit; the part of a tqdm bar that stages use."""

    def update(self, n: int) -> object:
        """``n`` more units are done."""

    def set_postfix_str(self, s: str) -> object:
        """What is worked on now."""


class Progress(Protocol):
    """Is told how far the stages of a job are."""

    def counting(self, unit: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
        """A bar for a stage's work.

        Args:
            unit: what is counted, in the singular.
            total: all of it that is this process's.
            done: of that, what an earlier start has left.
        """


class _Unheard:
    def update(self, n: int) -> None:
        pass

    def set_postfix_str(self, s: str) -> None:
        pass


class Silence:
    """Nobody listens."""

    @contextmanager
    def counting(self, unit: str, total: int, done: int = 0) -> Iterator[Bar]:
        """A bar that is not shown."""
        yield _Unheard()
