"""A prompt, and reading prompts from a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from excise.errors import ExciseError
from excise.prompts.tables import Table, read_table

SELF = "self"


@dataclass(frozen=True)
class Prompt:
    """One row of a prompt table."""

    text: str
    image: Path | None = None
    """The training image, where known."""
    mask: Path | None = None
    """White on the part of the image that counts; None counts all of it."""
    group: str = ""
    """Rows of one group stay together in every split; a row without one is a group of its own."""
    kind: str = "verbatim"
    target: str = ""
    """``self`` where the image is no training image but what the model itself draws at most seeds (a scan's)."""
    sources: tuple[str, ...] = ()
    """What else says that prompts belong together: addresses of one training image, numbers of one template."""

    @property
    def self_target(self) -> bool:
        """Whether what it is measured against is a picture of the model's own."""
        return self.target == SELF and self.image is not None


def read_prompts(path: Path, column: str | None = None) -> tuple[Prompt, ...]:
    """The prompts of a table, in order.

    Raises:
        ExciseError: as `read_table`, and for a named image that is not there.
    """
    return prompts_of(path, read_table(path, column))


def prompts_of(path: Path, table: Table) -> tuple[Prompt, ...]:
    """The prompts of a table that was read from ``path``.

    Raises:
        ExciseError: a named image or mask that is not beside the table.
    """
    prompts = []
    for row in table.rows:
        beside = {name: path.parent / file if (file := getattr(row, name)) else None for name in ("image", "mask")}
        for name, file in beside.items():
            if file and not file.is_file():
                raise ExciseError(f"{path}: line {row.number}: {name} {getattr(row, name)!r} is not beside the table")
        prompts.append(
            Prompt(row.text, group=row.group, kind=row.kind, target=row.target, sources=row.sources, **beside)
        )
    return tuple(prompts)
