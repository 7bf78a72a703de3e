"""Prompt tables as they are found in the wild; faults are named with table and line."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from excise.errors import ExciseError
from excise.prompts.prompt import Prompt, read_prompts
from excise.prompts.splits import bundles
from tests.prompts.written import written


def test_reads_every_column(tmp_path: Path) -> None:
    (tmp_path / "cat.png").touch()
    (tmp_path / "part.png").touch()
    table = 'prompt,image,mask,group,kind\n"a cat, asleep",cat.png,part.png,cats,template\na dog,,,,\n'
    first, second = read_prompts(written(tmp_path, table))
    assert first == Prompt("a cat, asleep", tmp_path / "cat.png", tmp_path / "part.png", "cats", "template")
    assert second == Prompt("a dog")


def test_a_self_target_is_one_with_a_picture(tmp_path: Path) -> None:
    (tmp_path / "own.png").touch()
    table = "prompt,image,target\na cat,own.png,self\na dog,own.png,training\na cow,,self\n"
    assert [prompt.self_target for prompt in read_prompts(written(tmp_path, table))] == [True, False, False]


def test_reads_a_table_with_byte_order_mark(tmp_path: Path) -> None:
    assert read_prompts(written(tmp_path, "\ufeffprompt\na cat\n")) == (Prompt("a cat"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "none of the columns .none. is called prompt, caption, text"),
        ("title\na cat\n", "none of the columns title is called prompt"),
        ("prompt\n", "the table has no prompt"),
        ("prompt,group\n  ,a\n", "the table has no prompt"),
        ("prompt\na cat, asleep\n", "line 2: not as many fields"),
        ("prompt,group\na cat\n", "line 2: not as many fields"),
        ("prompt,image\na cat,missing.png\n", r"line 2: image 'missing\.png' is not beside the table"),
    ],
)
def test_fault_names_table_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ExciseError, match=rf"table\.csv: {message}"):
        read_prompts(written(tmp_path, text))


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match=r"gone\.csv: prompt table cannot be read"):
        read_prompts(tmp_path / "gone.csv")


def test_binary_table(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"prompt\n\xff\xfe\n")
    with pytest.raises(ExciseError, match="line 2: not UTF-8; save it as UTF-8"):
        read_prompts(path)


def test_the_published_lists_load_as_they_are(tmp_path: Path) -> None:
    """The columns of Webster 2023 (parquet), Wen 2024 (jsonl), MemBench (csv, lists), and a csv with semicolons."""
    listed = {
        "caption": ["Shaw Floors, Tan", "Shaw Floors, Red", "the bloodborne box art", "a common chair"],
        "url": ["https://a/1", "https://a/2", "https://a/3", "https://a/4"],
        "overfit_type": ["TV", "TV", "MV", "N"],
        "template_indices": [[3], [3, 7], [], []],
        "mse_real_gen": [0.1, 0.2, 0.3, None],
    }
    pyarrow.parquet.write_table(pyarrow.table(listed), tmp_path / "sdv1.parquet")
    prompts = read_prompts(tmp_path / "sdv1.parquet")
    assert [p.kind for p in prompts] == ["template", "template", "verbatim"]
    assert [len(bundle) for bundle in bundles(prompts)] == [2, 1]

    lines = (
        '{"caption": "a \u00e9clair", "index": 7, "url": "https://a/1"}\n\n{"caption": "b", "index": 8, "url": null}\n'
    )
    first, second = read_prompts(written(tmp_path, lines, "wen.jsonl"))
    assert (first.text, first.sources, second.sources) == ("a éclair", ("url=https://a/1",), ())

    table = (
        "prompt,urls\n\"one, two\",\"['https://a/1', 'https://a/2']\"\nthree,\"['https://a/2']\"\nfour,['https://b']\n"
    )
    prompts = read_prompts(written(tmp_path, table, "membench.csv"))
    assert [p.text for p in prompts] == ["one, two", "three", "four"]
    assert [len(bundle) for bundle in bundles(prompts)] == [2, 1]

    (only,) = read_prompts(written(tmp_path, "Caption;Group\na cat, asleep;cats\n", "semicolon.csv"))
    assert (only.text, only.group) == ("a cat, asleep", "cats")

    assert read_prompts(written(tmp_path, "a cat\n\na dog\n", "list.txt")) == (Prompt("a cat"), Prompt("a dog"))


def test_a_column_can_be_named_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "title,prompt\na cat,x\n")
    assert read_prompts(path, "title") == (Prompt("a cat"),)
    with pytest.raises(ExciseError, match="no column 'name'; the columns are title, prompt"):
        read_prompts(path, "name")


def test_utf_16_is_read_and_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("prompt\nun café\n".encode("utf-16"))
    assert read_prompts(path) == (Prompt("un café"),)
    path.write_bytes("prompt\na cat\nun café\n".encode("cp1252"))
    with pytest.raises(ExciseError, match="line 3: not UTF-8"):
        read_prompts(path)
