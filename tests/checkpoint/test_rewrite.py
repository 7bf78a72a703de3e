"""Rewriting one file: the changed tensors in it, every other byte as it was, and all of it compared with the base."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from safetensors.torch import load_file, save_file
from torch import Tensor

from excise.checkpoint.rewrite import rewrite
from excise.checkpoint.tensorfile import read_entry, read_header
from excise.errors import ExciseError
from tests.checkpoint.drawn import made, saved_tensors


def unobserved(name: str, before: Tensor, after: Tensor) -> None:
    pass


@given(saved_tensors)
def test_any_tensor_can_be_written_over_in_a_copy_and_in_a_clone(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, tuple[torch.dtype, list[int], int]]
) -> None:
    tensors = made(drawn)
    path = tmp_path_factory.mktemp("file") / "model.safetensors"
    save_file(tensors, path)
    whole, entries, changed = path.read_bytes(), read_header(path), next(iter(tensors))
    copy, clone = path.with_name("copy.safetensors"), path.with_name("clone.safetensors")
    shutil.copyfile(path, clone)
    for place in (copy, clone):
        told: list[tuple[str, Tensor, Tensor]] = []
        rewrite(
            path,
            place,
            {changed: (entries[changed], torch.zeros_like)},
            lambda *what, told=told: told.append(what),
            cloned=place is clone,
        )
        ((name, before, after),) = told
        assert name == changed and torch.equal(before, tensors[changed]) and not after.any()
        assert read_header(place) == entries
        for name, entry in entries.items():
            expected = tensors[name] if name != changed else torch.zeros_like(tensors[name])
            assert torch.equal(read_entry(place, entry), expected)
    assert path.read_bytes() == whole


def test_a_disk_that_gives_back_other_bytes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, place = tmp_path / "base.safetensors", tmp_path / "copy.safetensors"
    save_file({"a": torch.randn(3_000_000), "b": torch.randn(9)}, base)
    edits = {"b": (read_header(base)["b"], torch.zeros_like)}
    rewrite(base, place, edits, unobserved)
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
                rewrite(base, place, edits, unobserved)


def test_where_the_kernel_cannot_copy_bytes_are_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refuse)
    base, place = tmp_path / "base.safetensors", tmp_path / "copy.safetensors"
    save_file({"a": torch.randn(1_500_000), "b": torch.randn(9)}, base)
    rewrite(base, place, {}, unobserved)
    assert place.read_bytes() == base.read_bytes()


def test_a_base_that_becomes_shorter_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, place = tmp_path / "base.safetensors", tmp_path / "copy.safetensors"
    save_file({"a": torch.randn(1_500_000), "b": torch.randn(9)}, base)
    sends = os.sendfile

    def cut(target: int, source: int, start: int, size: int) -> int:
        os.truncate(base, 2_000_000)
        return sends(target, source, start, size)

    monkeypatch.setattr(os, "sendfile", cut)
    with pytest.raises(ExciseError, match="became shorter while it was copied, at byte 2000000; start again"):
        rewrite(base, place, {}, unobserved)
