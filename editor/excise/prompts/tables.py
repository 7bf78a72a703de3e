"""Reading prompt tables as they are found in the wild: txt, csv, jsonl, parquet; columns named or recognised."""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.errors import ExciseError

TEXT = ("prompt", "caption", "text")
"""Names of the column of prompts, the first that is there; upper and lower case do not matter."""
GROUP = ("group", "template", "template_id")
KIND = ("kind", "overfit_type")
SOURCES = ("url", "urls", "template_indices")
"""Columns, single or list-valued, whose values say that rows belong together: addresses of one training image, numbers
of one template (as in the lists of Webster 2023, 2305.08694, and of MemBench, 2407.17095)."""
KINDS = {"verbatim": "verbatim", "template": "template", "mv": "verbatim", "rv": "verbatim", "tv": "template"}
"""What a kind may be called: as here, or matching, retrieved and template verbatims as in Webster 2023."""
NOT_MEMORIZED = "n"
SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class Row:
    """One row of a table, cells as texts, ``sources`` split up."""

    number: int
    """Line of the file, or row of a parquet file, from 1; a table's header is line 1."""
    text: str
    image: str
    mask: str
    group: str
    kind: str
    sources: tuple[str, ...]
    target: str = ""
    """What the image is: ``self`` of a scan's self-targets."""


@dataclass(frozen=True)
class Table:
    """A table as it was read, and what was left out of it."""

    rows: tuple[Row, ...]
    column: str
    """Name of the column of prompts; empty for a text file."""
    unused: tuple[str, ...]
    """Columns that nothing is made of."""
    empty: int
    """Lines without a prompt, left out."""
    not_memorized: int
    """Rows labelled as not memorized (``N``), left out."""


def read_table(path: Path, column: str | None = None, memorized: bool = True) -> Table:
    """Read a table; its format is told by its ending.

    Args:
        column: name of the column of prompts; None recognises one of `TEXT`.
        memorized: leave out what is labelled as not memorized.

    Raises:
        ExciseError: missing file, unknown ending, no column of prompts, a broken line, no row.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ExciseError(f"{path}: a prompt table must end in one of {', '.join(SUFFIXES)}; rename or convert it")
    try:
        header, records = _records(path)
    except OSError as error:
        raise ExciseError(f"{path}: prompt table cannot be read ({error.strerror}); correct its path") from error
    names = columns_of(path, header, column)
    rows, empty, left_out = [], 0, 0
    for number, record in records:
        cells = {key: _cell(record.get(name)) for key, name in names.items() if name and key != "sources"}
        if not cells["text"].strip():
            empty += 1
        elif (kind := cells.get("kind", "").lower()) == NOT_MEMORIZED and memorized:
            left_out += 1
        else:
            sources = tuple(f"{name}={value}" for name in names["sources"] for value in _values(record.get(name)))
            plain = {key: cells.get(key, "") for key in ("text", "image", "mask", "group", "target")}
            rows.append(Row(number, kind=KINDS.get(kind, kind) or "verbatim", sources=sources, **plain))
    if not rows:
        raise ExciseError(f"{path}: the table has no prompt; give at least one")
    used = {name for key, name in names.items() if key != "sources"} | set(names["sources"])
    return Table(tuple(rows), names["text"], tuple(name for name in header if name not in used), empty, left_out)


def columns_of(path: Path, header: tuple[str, ...], column: str | None) -> dict[str, Any]:
    """Name of the column of each kind of cell (text, image, mask, group, kind; of sources a list), empty where there is
    none.

    Args:
        path: of the table, for messages.
        header: names of its columns.
        column: that of prompts, where it is not recognised.

    Raises:
        ExciseError: no column of prompts.
    """
    known = {name.lower(): name for name in reversed(header)}

    def first(names: Iterable[str]) -> str:
        return next((known[name] for name in names if name in known), "")

    if column is not None and column not in header:
        raise ExciseError(f"{path}: no column {column!r}; the columns are {', '.join(header)}; see prompts.column")
    text = column or first(TEXT)
    if not text:
        raise ExciseError(
            f"{path}: none of the columns {', '.join(header) or '(none)'} is called {', '.join(TEXT)}; "
            "name the column of prompts with prompts.column"
        )
    return {
        "text": text,
        "image": first(["image"]),
        "mask": first(["mask"]),
        "group": first(GROUP),
        "kind": first(KIND),
        "target": first(["target"]),
        "sources": [known[name] for name in SOURCES if name in known],
    }


def _records(path: Path) -> tuple[tuple[str, ...], list[tuple[int, Mapping[str, Any]]]]:
    """Header, and the rows with their numbers."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path)
    text = _decoded(path)
    if suffix == ".txt":
        return ("prompt",), [(number, {"prompt": line}) for number, line in enumerate(text.splitlines(), start=1)]
    return _json_lines(path, text) if suffix in (".jsonl", ".ndjson") else _csv(path, text)


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ExciseError(
            f"{path}: line {line}: not {encoding.removesuffix('-sig').upper()}; save it as UTF-8 "
            "(iconv -f WINDOWS-1252 -t UTF-8 converts most others)"
        ) from error


def _csv(path: Path, text: str) -> tuple[tuple[str, ...], list[tuple[int, Mapping[str, Any]]]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    records: list[tuple[int, Mapping[str, Any]]] = []
    try:
        header = tuple(name.strip() for name in next(reader, []))
        for cells in reader:
            if cells and len(cells) != len(header):
                raise ExciseError(
                    f"{path}: line {reader.line_num}: not as many fields as the header; quote prompts with commas"
                )
            records.append((reader.line_num, dict(zip(header, cells, strict=False))))
    except csv.Error as error:
        raise ExciseError(f"{path}: line {reader.line_num}: not CSV: {error}; correct the line") from error
    return header, records


def delimiter_of(text: str) -> str:
    """The separator of which the header line has most; a comma where it has none."""
    header = text.partition("\n")[0]
    return max(",;\t|", key=header.count)


def _json_lines(path: Path, text: str) -> tuple[tuple[str, ...], list[tuple[int, Mapping[str, Any]]]]:
    records: list[tuple[int, Mapping[str, Any]]] = []
    names: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            record = json.loads(line) if line.strip() else {}
        except ValueError as error:
            raise ExciseError(f"{path}: line {number}: not JSON: {error}; correct the line") from error
        if not isinstance(record, dict):
            raise ExciseError(f"{path}: line {number}: not a JSON object; write one object a line")
        names |= dict.fromkeys(record)
        records.append((number, record))
    return tuple(names), records


def _parquet(path: Path) -> tuple[tuple[str, ...], list[tuple[int, Mapping[str, Any]]]]:
    import pyarrow  # here, not above: it is large, and most tables are not parquet
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise ExciseError(f"{path}: not a parquet file: {error}; fetch it again") from error
    return tuple(table.column_names), list(enumerate(table.to_pylist(), start=1))


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _values(value: Any) -> list[str]:
    """The values of a cell that may be a list, or a list written out, as pandas writes it into a csv."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return [value]
    items = value if isinstance(value, (list, tuple)) else [value]
    return [str(item) for item in items if item not in (None, "")]
