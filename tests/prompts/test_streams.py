"""Tables of captions read row by row: the same as read whole, in constant memory, faults named."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from excise.errors import ExciseError
from excise.prompts.streams import Caption, Stream, chunks
from excise.prompts.tables import read_table

ROWS = [("a cat, asleep", "cat.png"), ('a "dog"\non two lines', ""), ("  ", "x.png"), ("ein Straße", "")]


def in_every_format(folder: Path) -> list[Path]:
    records = [{"id": i, "caption": text, "image": image} for i, (text, image) in enumerate(ROWS)]
    csv = "id;caption;image\n" + "".join(
        f'{i};"{t.replace(chr(34), chr(34) * 2)}";{m}\n' for i, (t, m) in enumerate(ROWS)
    )
    (folder / "t.csv").write_text(csv, encoding="utf-8-sig")
    (folder / "u.csv").write_text(csv, encoding="utf-16")
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n\n", encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), folder / "t.parquet", row_group_size=1)
    return [folder / name for name in ("t.csv", "u.csv", "t.jsonl", "t.parquet")]


def test_every_format_gives_what_reading_whole_gives(tmp_path: Path) -> None:
    for path in in_every_format(tmp_path):
        whole = [Caption(row.number, row.text, row.image) for row in read_table(path).rows]
        assert list(Stream(path)) == whole, path
        assert [caption.text for caption in whole] == [text for text, _ in ROWS if text.strip()]
    (tmp_path / "t.txt").write_text("one\n\n two \n", encoding="utf-8")
    assert list(Stream(tmp_path / "t.txt")) == [Caption(1, "one"), Caption(3, "two")]


def test_chunks_are_of_one_size_and_can_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("".join(f"caption {i}\n" for i in range(10)), encoding="utf-8")
    stream = Stream(tmp_path / "t.txt")
    for _ in range(2):
        found = list(chunks(stream, 4))
        assert [len(chunk) for chunk in found] == [4, 4, 2]
        assert [caption.row for chunk in found for caption in chunk] == list(range(1, 11))


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    peaks = []
    for count in (2_000, 40_000):
        path = tmp_path / f"{count}.csv"
        path.write_text("caption\n" + "".join(f"a caption of some words number {i}\n" for i in range(count)))
        tracemalloc.start()
        assert sum(len(chunk) for chunk in chunks(Stream(path), 100)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.xlsx", b"", "ends in one of"),
        ("t.csv", b"title\na cat\n", "none of the columns title"),
        ("t.csv", b"caption,a\na cat\n", "line 2: not as many fields"),
        ("t.csv", b"caption\nSt\xe4dte\n", "not UTF-8"),
        ("t.csv", b'caption\n"a" b\n', "line 2: not CSV"),
        ("t.jsonl", b'{"caption": "a"}\nnot\n', "line 2: not JSON"),
        ("t.jsonl", b"[1]\n", "line 1: not a JSON object"),
        ("t.jsonl", b'{"caption": "a"}\n{"caption": "cut \\ud83d"}\n', "line 2: .*half of a character"),
        ("t.parquet", b"PAR1 no", "not a parquet file"),
    ],
)
def test_faults_are_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ExciseError, match=message):
        list(Stream(tmp_path / name))
    with pytest.raises(ExciseError, match="cannot be read"):
        list(Stream(tmp_path / "missing.csv"))
    (tmp_path / "other.csv").write_text("caption\na\n")
    with pytest.raises(ExciseError, match=r"no column 'words'; the columns are caption"):
        list(Stream(tmp_path / "other.csv", "words"))


def test_an_image_that_a_later_line_names_first_is_seen(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"caption": "a"}\n{"caption": "b", "image": "b.png"}\n')
    assert [caption.image for caption in Stream(tmp_path / "t.jsonl")] == ["", "b.png"]
