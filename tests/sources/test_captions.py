"""Captions on the Hub: a parquet file by its row groups, others fetched; pinned to a commit; faults named."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from excise.errors import ExciseError
from excise.prompts.streams import chunks
from excise.sources.captions import open_captions
from tests.hub.server import Hub

TEXTS = [f"a caption of some words, number {i}" for i in range(2_000)]


def parquet() -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"caption": TEXTS}), file, row_group_size=100)
    return file.getvalue()


def test_captions_of_a_dataset_are_read_at_one_commit(hub: Hub, at_home: Path) -> None:
    files = {
        "data/part.parquet": parquet(),
        "data/list.csv": b"prompt\na cat\na dog\n",
        "data/words.csv": b"title\na\n",
    }
    hub.add_repo("acme/captions", files, kind="dataset")

    def opened(name: str) -> tuple[list[str], str]:
        stream, origin = open_captions("CAPTIONS", Path(f"hf://datasets/acme/captions/{name}"), None)
        return [caption.text for chunk in chunks(stream, 512) for caption in chunk], origin

    for name, expected in (("data/part.parquet", TEXTS), ("data/list.csv", ["a cat", "a dog"])):
        texts, origin = opened(name)
        assert texts == expected
        commit = origin.rpartition("@")[2].partition("/")[0]
        assert len(commit) == 40 and origin.endswith(name)
    assert not list(at_home.rglob("*.parquet")), "row groups are read from where they are"

    with pytest.raises(ExciseError, match="no such file"):
        opened("data/missing.csv")
    with pytest.raises(ExciseError, match=r"hf://datasets/acme/captions"):
        opened("data/missing.parquet")
    with pytest.raises(ExciseError, match="none of the columns title"):
        opened("data/words.csv")
    with pytest.raises(ExciseError, match="name one of the dataset's files"):
        open_captions("CAPTIONS", Path("hf://datasets/acme/captions"), None)


def test_a_local_table_is_known_by_its_bytes(tmp_path: Path) -> None:
    table = tmp_path / "t.txt"
    table.write_text("a cat\n")
    stream, first = open_captions("CAPTIONS", table, None)
    assert [caption.text for caption in stream] == ["a cat"]
    table.write_text("a dog\n")
    assert open_captions("CAPTIONS", table, None)[1] != first
    with pytest.raises(ExciseError, match=r"CAPTIONS: .*no such file"):
        open_captions("CAPTIONS", tmp_path / "u.txt", None)
