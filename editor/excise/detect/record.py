"""What a scan's folder says of itself: what it was made of, and what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from excise.errors import ExciseError
from excise.files.writing import write_text


class ScanRecord(BaseModel):
    """``scan.json``."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: str
    """As it was given, or its address at one commit."""
    captions: str
    made_of: dict[str, str]
    """Hash or value of each thing that the scores depend on; a folder is gone on with only if all are the same."""
    found: dict[str, Any] = {}
    """The numbers, when the scan is done."""

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_text(path, json.dumps(self.model_dump(), indent=1, ensure_ascii=False) + "\n")


def read_record(path: Path) -> ScanRecord | None:
    """The record of a folder; None where there is none.

    Raises:
        ExciseError: the file is none.
    """
    try:
        return ScanRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise ExciseError(f"{path}: is not the record of a scan; choose another --out, or scan with --fresh") from error


def refuse_other(path: Path, found: ScanRecord | None, now: ScanRecord) -> None:
    """Refuse to go on with what was made of something else.

    Raises:
        ExciseError: names what differs.
    """
    if found is None:
        return
    keys = sorted(key for key in found.made_of.keys() | now.made_of.keys()
                  if found.made_of.get(key) != now.made_of.get(key))  # fmt: skip
    if keys:
        raise ExciseError(
            f"{path.parent}: holds a scan of {found.checkpoint} with other {', '.join(keys)}; choose another folder "
            "with --out, or scan anew with --fresh"
        )
