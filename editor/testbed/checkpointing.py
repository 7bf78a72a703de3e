"""Training state on disk, written whole or not at all, so that a killed training resumes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import torch


class Stateful(Protocol):
    """Anything with the two methods of `torch.nn.Module` and of the optimisers."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as plain containers of tensors."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Restore it."""
        ...


def save_state(path: Path, step: int, **parts: Stateful) -> None:
    """Write the step and the state of each part; the old file stays until the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, unfinished)
    os.replace(unfinished, path)


def load_state(path: Path, **parts: Stateful) -> int:
    """Restore each part from ``path`` and return its step; 0, and nothing touched, where there is no file."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])
