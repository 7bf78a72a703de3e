"""The one exception for what a user can mend, and its wording for recipe errors."""

from __future__ import annotations

import errno
import tomllib
from pathlib import Path

from pydantic import ValidationError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the system's errors of a full disk."""


class ExciseError(Exception):
    """Something the user can mend. The message names the file and key, and says what to do."""


def explain_validation(path: Path, error: ValidationError) -> str:
    """One line per fault of a recipe: file, dotted key, what is wrong."""
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "(whole file)"
        if fault["type"] == "extra_forbidden":
            message = "unknown key; remove it or correct its spelling"
        elif fault["type"] == "missing":
            message = "required key is missing; add it"
        else:
            message = f"{fault['msg']} (got {fault['input']!r})"
            if fault["type"] in ("int_type", "float_type", "bool_type") and _is_plain(fault["input"]):
                message += "; write it without quotes"
        lines.append(f"{path}: {key}: {message}")
    return "\n".join(lines)


def _is_plain(value: object) -> bool:
    """Whether a value is a text that reads as a number or a truth value."""
    try:
        return isinstance(value, str) and isinstance(tomllib.loads(f"x = {value}")["x"], (int, float))
    except tomllib.TOMLDecodeError:
        return False
