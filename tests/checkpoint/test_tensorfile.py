"""Reading a safetensors header defensively."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from excise.checkpoint.rewrite import rewrite
from excise.checkpoint.tensorfile import DTYPES, read_entry, read_header
from excise.errors import ExciseError
from tests.checkpoint.mutants import run

DTYPE = {value: name for name, value in DTYPES.items()}


def write(path: Path, header: object, body: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def entry(start: int, stop: int, shape: list[int], dtype: str = "I8") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(list(DTYPE)), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 2**32)),
        min_size=1,
        max_size=5,
    )
)
def test_what_was_saved_is_read_and_can_be_written_over(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, tuple[torch.dtype, list[int], int]]
) -> None:
    path = tmp_path_factory.mktemp("file") / "model.safetensors"
    tensors = {
        name: torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        for name, (dtype, shape, seed) in drawn.items()
    }
    save_file(tensors, path)
    entries = read_header(path)
    assert {name: (e.dtype, e.shape) for name, e in entries.items()} == {
        name: (DTYPE[value.dtype], tuple(value.shape)) for name, value in tensors.items()
    }
    changed = next(iter(tensors))
    copy, clone = path.with_name("copy.safetensors"), path.with_name("clone.safetensors")
    shutil.copyfile(path, clone)
    edits = {changed: (entries[changed], torch.zeros_like)}
    tensors[changed] = torch.zeros_like(tensors[changed])
    for place in (copy, clone):
        rewrite(path, place, edits, cloned=place is clone)
        for name, e in read_header(place).items():
            assert torch.equal(read_entry(place, e), tensors[name])


def test_a_disk_that_gives_back_other_bytes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, place = tmp_path / "base.safetensors", tmp_path / "copy.safetensors"
    save_file({"a": torch.randn(3_000_000), "b": torch.randn(9)}, base)
    edits = {"b": (read_header(base)["b"], torch.zeros_like)}
    rewrite(base, place, edits)
    assert torch.equal(load_file(place)["a"], load_file(base)["a"]) and not load_file(place)["b"].any()
    sends, writes = os.sendfile, os.pwrite
    for bad in (64, 9_000_000, base.stat().st_size - 1):  # of the header, of a kept tensor, of the edited one

        def damage(file: int, start: int, stop: int, bad: int = bad) -> None:
            if start <= bad < stop:
                writes(file, bytes([os.pread(file, 1, bad)[0] ^ 1]), bad)

        def send(target: int, source: int, start: int, size: int) -> int:
            count = sends(target, source, start, size)
            damage(target, start, start + count)
            return count

        def write(file: int, block: memoryview, start: int) -> int:
            count = writes(file, block, start)
            damage(file, start, start + count)
            return count

        with monkeypatch.context() as patch:
            patch.setattr(os, "sendfile", send)
            patch.setattr(os, "pwrite", write)
            with pytest.raises(ExciseError, match="not what was written"):
                rewrite(base, place, edits)


def test_where_the_kernel_cannot_copy_bytes_are_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refuse)
    base, place = tmp_path / "base.safetensors", tmp_path / "copy.safetensors"
    save_file({"a": torch.randn(1_500_000), "b": torch.randn(9)}, base)
    rewrite(base, place, {})
    assert place.read_bytes() == base.read_bytes()


@pytest.mark.parametrize(
    ("header", "body", "fault"),
    [
        (b'{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}',
         b"x", "'a' is in the header twice"),
        ({"a": entry(0, 4, [4]), "b": entry(2, 6, [4])}, bytes(6), "'b' starts at byte .* expected"),
        ({"a": entry(0, 4, [4]), "b": entry(5, 9, [4])}, bytes(9), "'b' starts at byte"),
        ({"a": entry(0, 4, [4])}, bytes(5), "tensors end at byte"),
        ({"a": entry(0, 4, [3])}, bytes(4), "does not fill"),
        ({"a": entry(0, 4, [4], "X8")}, bytes(4), "unknown dtype 'X8'"),
        ({"a": entry(0, 4, [-2, -2])}, bytes(4), "whole numbers"),
        ({"a": entry(0, 1, [True])}, bytes(1), "whole numbers"),
        ({"a": entry(0, 4, [4]) | {"more": 1}}, bytes(4), "nothing else"),
        ({"__metadata__": {"a": 1}, "a": entry(0, 1, [1])}, b"x", "texts only"),
        ([1], b"", "not a JSON object"),
        (b'{"a": NaN}', b"", "NaN is not valid JSON"),
        (b"[" * 100_000, b"", "safetensors"),
    ],
)  # fmt: skip
def test_a_deceptive_header_is_refused(tmp_path: Path, header: object, body: bytes, fault: str) -> None:
    path = write(tmp_path / "model.safetensors", header, body)
    with pytest.raises(ExciseError, match=fault):
        read_header(path)


def test_an_oversized_header_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((200_000_000).to_bytes(8, "little"))
    with path.open("r+b") as file:
        file.truncate(300_000_000)
    with pytest.raises(ExciseError, match="a header of 200000000 bytes"):
        read_header(path)


def test_mutants_fare_as_with_the_formats_own_library() -> None:
    found = run(1_500, seed=1)
    assert found["refused"] > 500 and found["accepted"] > 20 and found["stricter"] > 20
