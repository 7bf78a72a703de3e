"""``EXCISE.json``: where a release comes from and what it is, in one file that vouches for all others.

Its last key, ``sha256``, is that of the file with the key's value empty, so that no byte of it changes unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from editor.errors import ExciseError

RECORD, SIGNATURE, CARD, CHANGES, EXTRAS = "EXCISE.json", "model.sig", "README.md", "CHANGES.md", "excise"
FORMAT = 1


def write_record(folder: Path, content: dict[str, Any]) -> None:
    """Write the record; NaN is refused, as JSON has none."""
    empty = _text(content | {"sha256": ""})
    digest = hashlib.sha256(empty.encode()).hexdigest()
    (folder / RECORD).write_text(_text(content | {"sha256": digest}), encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a release.

    Raises:
        ExciseError: there is none, or it is not as it was written.
    """
    path = folder / RECORD
    try:
        text = path.read_bytes().decode("utf-8")
        content = json.loads(text)
        digest = content["sha256"]
        empty = _text(content | {"sha256": ""})
    except OSError as error:
        raise ExciseError(f"{path}: cannot be read ({error.strerror}); this is no release") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExciseError(f"{path}: altered or broken: {error}; fetch the release again") from error
    if text != _text(content) or digest != hashlib.sha256(empty.encode()).hexdigest():
        raise ExciseError(f"{path}: altered: it does not have the sha256 that it states; fetch the release again")
    if content.get("format") != FORMAT:
        raise ExciseError(f"{path}: format {content.get('format')!r}; this version of excise reads {FORMAT}")
    found: dict[str, Any] = content
    return found


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
