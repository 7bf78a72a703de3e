"""Writing a single file: where it may go, how much memory it takes, and what a fault leaves."""

from __future__ import annotations

import hashlib
import resource
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from excise.checkpoint.exported import Contents, Outgoing, check_target, header_of, write_contents
from excise.checkpoint.pieces import Piece
from excise.checkpoint.tensorfile import read_header, write_sketch
from excise.errors import ExciseError

MIB = 2**20


def contents(tensors: dict[str, Outgoing]) -> Contents:
    return Contents(tensors, header_of(tensors, {"format": "pt"}), ["a note"])


def stored(file: Path, *names: str) -> tuple[Piece, ...]:
    header = read_header(file)
    return tuple(Piece(file, header[name]) for name in names)


def test_tensors_one_above_the_other_and_turned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one, other = torch.randn(3, 4).half(), torch.randn(2, 4).half()
    save_file({"one": one, "other": other}, tmp_path / "in.safetensors")
    pieces = stored(tmp_path / "in.safetensors", "one", "other")
    turned = Piece(pieces[0].file, pieces[0].entry, transposed=True)
    tensors = {"stacked": Outgoing("F16", (5, 4), pieces), "turned": Outgoing("F16", (4, 3), (turned,))}
    done = write_contents(contents(tensors), tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    assert torch.equal(found["stacked"], torch.cat([one, other])) and torch.equal(found["turned"], one.T)
    data = done.path.read_bytes()
    assert (done.size, done.sha256, done.tensors) == (len(data), hashlib.sha256(data).hexdigest(), 2)
    assert done.notes == ("a note",)


def test_memory_holds_a_block_whatever_the_size(tmp_path: Path) -> None:
    write_sketch(tmp_path / "in.safetensors", {name: ("F32", (64, MIB // 4)) for name in "abc"})
    tensors = {name: Outgoing("F32", (64, MIB // 4), stored(tmp_path / "in.safetensors", name)) for name in "abc"}
    tracemalloc.start()
    write_contents(contents(tensors), tmp_path / "out.safetensors")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "out.safetensors").stat().st_size > 192 * MIB and peak < 40 * MIB


def test_too_little_room_is_seen_before_anything_is_written(tmp_path: Path) -> None:
    tensors = {"a": Outgoing("F32", (2**20, 2**30), ())}
    with pytest.raises(ExciseError, match=r"4,294,967,296 MiB needed, [\d,]+ MiB free on its disk"):
        write_contents(contents(tensors), tmp_path / "out.safetensors")
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Short:
    """A file that became shorter while it was read."""

    def blocks(self) -> Iterator[bytes]:
        yield bytes(4)


def test_what_became_shorter_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.safetensors"
    path.write_bytes(b"before")
    with pytest.raises(ExciseError, match="a: 4 bytes where 16 were expected"):
        write_contents(contents({"a": Outgoing("F32", (4,), (Short(),))}), path)
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_fills_up_is_explained_and_leaves_nothing(tmp_path: Path) -> None:
    """The system's limit on the size of a file ends in an error of the same kind."""
    write_sketch(tmp_path / "in.safetensors", {"a": ("F32", (MIB,))})
    tensors = {"a": Outgoing("F32", (MIB,), stored(tmp_path / "in.safetensors", "a"))}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        with pytest.raises(ExciseError, match=r"cannot be written .*; free some space, or choose another place"):
            write_contents(contents(tensors), tmp_path / "out.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


def test_places_where_it_must_not_go(tmp_path: Path) -> None:
    (tmp_path / "made" / "unet").mkdir(parents=True)
    (tmp_path / "base.safetensors").touch()
    (tmp_path / "link.safetensors").symlink_to("base.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    outside = [tmp_path / "made", tmp_path / "base.safetensors"]
    for name, words in {
        "one.ckpt": "ends in .safetensors",
        "nowhere/one.safetensors": "is no folder",
        "folder.safetensors": "is a folder",
        "made/unet/one.safetensors": "part of what the file is made of",
        "base.safetensors": "part of what the file is made of",
        "link.safetensors": "part of what the file is made of",
    }.items():
        with pytest.raises(ExciseError, match=words):
            check_target(tmp_path / name, True, outside)
    (tmp_path / "there.safetensors").touch()
    with pytest.raises(ExciseError, match=r"is there already; .* --overwrite"):
        check_target(tmp_path / "there.safetensors", False, outside)
    check_target(tmp_path / "there.safetensors", True, outside)
    check_target(tmp_path / "new.safetensors", False, outside)
