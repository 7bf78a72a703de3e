"""Processes of one job: one by default, several under ``accelerate launch``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a job, as one of them sees them. All of them see one file system."""

    rank: int = 0
    """Number of this one."""
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process does what is done once: decide, merge, write the record, print."""
        return self.rank == 0

    def share(self, work: Sequence[T]) -> list[T]:
        """This process's part of the work, every ``count``-th piece; none where there are fewer pieces than processes.

        What a piece gives must not depend on who does it.
        """
        return list(work[self.rank :: self.count])

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def agree(self, value: T) -> T:
        """What the leading process says ``value`` is; others' are not looked at."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        box: list[Any] = [value if self.leads else None]
        broadcast_object_list(box)
        return box[0]  # type: ignore[no-any-return]


ALONE = Processes()
PATIENCE = timedelta(days=7)
"""How long a process waits for another: the first one fetches, edits and measures alone, which may take hours."""


def join_processes() -> Processes:
    """Those that ``accelerate launch`` (or torchrun) has started, this one among them; this one alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)  # unasked, it sees one process on a CPU
    return Processes(state.process_index, state.num_processes)
