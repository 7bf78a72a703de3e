"""Reading a safetensors header defensively, and tensors as they are stored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from safetensors.torch import save_file

from excise.checkpoint import tensorfile
from excise.checkpoint.tensorfile import DTYPES, not_finite, read_entry, read_header, read_range
from excise.errors import ExciseError
from tests.checkpoint.drawn import made, saved_tensors
from tests.checkpoint.mutants import run

DTYPE = {value: name for name, value in DTYPES.items()}


def write(path: Path, header: object, body: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def entry(start: int, stop: int, shape: list[int], dtype: str = "I8") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@given(saved_tensors)
def test_what_was_saved_is_read(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, tuple[torch.dtype, list[int], int]]
) -> None:
    tensors = made(drawn)
    path = tmp_path_factory.mktemp("file") / "model.safetensors"
    save_file(tensors, path)
    entries = read_header(path)
    assert {name: (e.dtype, e.shape) for name, e in entries.items()} == {
        name: (DTYPE[value.dtype], tuple(value.shape)) for name, value in tensors.items()
    }
    for name, value in tensors.items():
        assert torch.equal(read_entry(path, entries[name]), value)
        assert read_range(path, entries[name]) == value.reshape(-1).view(torch.uint8).numpy().tobytes()


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


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_number_that_is_none_is_found_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, value: float, place: int
) -> None:
    """In small blocks, so that it lies within one, at an edge, and in the last, which is not full."""
    monkeypatch.setattr(tensorfile, "BLOCK", 512)
    largest = torch.full((1, 1003), torch.finfo(dtype).max, dtype=dtype)
    tensors = {"b": largest, "a": -largest, "empty": torch.zeros(0, dtype=dtype), "n": torch.full((7,), 2**31 - 1)}
    save_file(tensors, tmp_path / "x.safetensors")
    assert not_finite(tmp_path / "x.safetensors") is None
    tensors["b"].view(-1)[place] = value
    save_file(tensors, tmp_path / "x.safetensors")
    assert not_finite(tmp_path / "x.safetensors") == "b"


def test_reading_a_file_through_takes_one_block_of_memory(tmp_path: Path) -> None:
    """In a process of its own, whose peak is its own: a file of 256 MiB, and 48 MiB of room for blocks."""
    save_file({"whole": torch.zeros(2**26)}, tmp_path / "x.safetensors")
    code = (
        "import resource, sys, torch; from pathlib import Path; from excise.checkpoint.tensorfile import not_finite\n"
        "torch.aminmax(torch.zeros(9)); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert not_finite(Path(sys.argv[1])) is None\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.safetensors")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 48 * 1024
