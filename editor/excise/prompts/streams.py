"""Captions of a table one after the other, however many there are: what `excise.prompts.tables` reads whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from excise.errors import ExciseError
from excise.prompts.tables import SUFFIXES, columns_of, delimiter_of

BATCH = 4_096
"""Rows of a parquet file that are in memory together."""


@dataclass(frozen=True)
class Caption:
    """One row with a caption."""

    row: int
    """Line of the file, or row of a parquet file, from 1; a table's header is line 1."""
    text: str
    image: str = ""
    """The training image, as the table names it."""


@dataclass(frozen=True)
class Stream:
    """A table of captions, read from its beginning each time that it is iterated over."""

    path: Path
    """Its name for messages, and its place where it is local."""
    column: str | None = None
    """Name of the column of captions; None recognises it."""
    remote: Any = None
    """For a parquet file elsewhere: a function that opens it; row groups are fetched as they are read."""

    def __iter__(self) -> Iterator[Caption]:
        """Captions in order; rows without one are left out.

        Raises:
            ExciseError: missing file, unknown ending, no column of captions, a broken line; names the line.
        """
        suffix = self.path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ExciseError(f"{self.path}: a table of captions ends in one of {', '.join(SUFFIXES)}; convert it")
        try:
            if suffix == ".parquet":
                yield from self._parquet()
            elif suffix == ".txt":
                yield from (
                    Caption(number, line.strip()) for number, line in enumerate(self._lines(), 1) if line.strip()
                )
            elif suffix in (".jsonl", ".ndjson"):
                yield from self._json_lines()
            else:
                yield from self._csv()
        except OSError as error:
            raise ExciseError(f"{self.path}: cannot be read ({error.strerror or error}); correct the path") from error

    def _lines(self) -> Iterator[str]:
        with self.path.open("rb") as file:
            mark = file.read(2)
        encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        number = 0
        try:
            with self.path.open(encoding=encoding, newline="") as file:
                for line in file:
                    number += 1
                    yield line
        except UnicodeDecodeError as error:
            name = encoding.removesuffix("-sig").upper()
            raise ExciseError(f"{self.path}: after line {number}: not {name}; save it as UTF-8") from error

    def _csv(self) -> Iterator[Caption]:
        csv.field_size_limit(2**31 - 1)
        lines = self._lines()
        first = next(lines, "")
        reader = csv.reader(_again(first, lines), delimiter=delimiter_of(first), strict=True)
        try:
            header = tuple(name.strip() for name in next(reader, []))
            names = columns_of(self.path, header, self.column)
            text, image = header.index(names["text"]), header.index(names["image"]) if names["image"] else None
            for cells in reader:
                if cells and len(cells) != len(header):
                    raise ExciseError(
                        f"{self.path}: line {reader.line_num}: not as many fields as the header; quote captions with "
                        "commas"
                    )
                if cells and cells[text].strip():
                    yield Caption(reader.line_num, cells[text], cells[image] if image is not None else "")
        except csv.Error as error:
            raise ExciseError(f"{self.path}: line {reader.line_num}: not CSV: {error}; correct the line") from error

    def _json_lines(self) -> Iterator[Caption]:
        names: dict[str, Any] = {}
        for number, line in enumerate(self._lines(), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ExciseError(f"{self.path}: line {number}: not JSON: {error}; correct the line") from error
            if not isinstance(record, dict):
                raise ExciseError(f"{self.path}: line {number}: not a JSON object; write one object a line")
            names = names or columns_of(self.path, tuple(record), self.column)
            image = names["image"] or next((name for name in record if name.lower() == "image"), "")
            if caption := _caption(number, record.get(names["text"]), record.get(image)):
                if not caption.text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in caption.text):
                    raise ExciseError(f"{self.path}: line {number}: the caption holds half of a character; mend it")
                yield caption

    def _parquet(self) -> Iterator[Caption]:
        import pyarrow  # here, not above: it is large, and most tables are not parquet
        import pyarrow.parquet

        file: BinaryIO
        with self.remote() if self.remote else self.path.open("rb") as file:
            try:
                table = pyarrow.parquet.ParquetFile(file)
                names = columns_of(self.path, tuple(table.schema_arrow.names), self.column)
                wanted = [name for name in (names["text"], names["image"]) if name]
                number = 0
                for batch in table.iter_batches(BATCH, columns=wanted):
                    for record in batch.to_pylist():
                        number += 1
                        if caption := _caption(number, record[names["text"]], record.get(names["image"])):
                            yield caption
            except pyarrow.ArrowInvalid as error:
                raise ExciseError(f"{self.path}: not a parquet file: {error}; fetch it again") from error


def chunks(stream: Iterable[Caption], size: int) -> Iterator[tuple[Caption, ...]]:
    """The captions of a table, ``size`` at a time; the last may be fewer."""
    captions = iter(stream)
    while chunk := tuple(islice(captions, size)):
        yield chunk


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _caption(row: int, text: object, image: object) -> Caption | None:
    """None without a text; an image that is no path, as parquet files of pictures have it, is not one."""
    if text is None or not str(text).strip():
        return None
    return Caption(row, str(text), image if isinstance(image, str) else "")
