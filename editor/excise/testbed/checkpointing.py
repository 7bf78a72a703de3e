"""Training state on disk, written whole or not at all: a killed training resumes and ends with the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from excise.errors import ExciseError
from excise.files.trees import read_tree, write_tree


class Stateful(Protocol):
    """Anything with the two methods of `torch.nn.Module` and of the optimisers."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as plain containers of tensors."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Restore it."""
        ...


def save_state(path: Path, step: int, **parts: Stateful) -> None:
    """Write the step and the state of each part; the old file stays until the new one is complete.

    Raises:
        TypeError: a part's state holds what `write_tree` does not take.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tree(path, {"step": step} | {name: part.state_dict() for name, part in parts.items()})


def load_state(path: Path, **parts: Stateful) -> int:
    """Restore each part from ``path`` and return its step; 0, and nothing touched, where there is no file.

    Raises:
        ExciseError: the file cannot be read, or holds no such part; nothing is touched.
    """
    if not path.exists():
        return 0
    state = read_tree(path)
    missing = [name for name in ("step", *parts) if name not in state]
    if missing:
        raise ExciseError(f"{path}: no training state of {', '.join(missing)} in it; remove it to start again")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])
