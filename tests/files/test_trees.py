"""Trees of tensors on disk: no pickle, the same bits back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from excise.files import trees
from excise.files.trees import read_tree, write_tree


def same(a: Any, b: Any) -> bool:
    """Equal in kind, structure, dtype, layout and every bit."""
    if isinstance(a, Tensor):
        alike = isinstance(b, Tensor) and (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
        return alike and a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    grid = torch.arange(24.0).view(2, 3, 4, 1)
    tree = {
        "numbers": [1, -(2**70), True, None, 0.1, -0.0, math.inf, math.nan, 5e-324, "", 'å "quoted"\n'],
        "nested": {0: (), 1: [], "0": {}, "pair": (1, [2.0, (3,)])},
        "dtypes": [torch.tensor([1, 2]).to(dtype) for dtype in (torch.bool, torch.uint8, torch.int64, torch.half)],
        "odd": [torch.tensor(3.5), torch.empty(0, 4), torch.tensor([math.nan, -0.0])],
        "transposed": grid.permute(2, 0, 3, 1),
        "last": grid.to(memory_format=torch.channels_last),
        "a/b": torch.ones(1),
        "a": {"b": torch.zeros(1)},
        "structure": torch.ones(2),
    }
    write_tree(tmp_path / "tree.safetensors", tree)
    assert same(read_tree(tmp_path / "tree.safetensors"), tree)
    first = (tmp_path / "tree.safetensors").read_bytes()
    write_tree(tmp_path / "tree.safetensors", tree)
    assert (tmp_path / "tree.safetensors").read_bytes() == first


def test_tensors_that_share_memory(tmp_path: Path) -> None:
    path, weight, row = tmp_path / "tree.safetensors", torch.rand(4, 4), torch.rand(6)
    write_tree(path, {"one": weight, "two": weight.detach(), "turned": weight.T, "head": row[:4], "tail": row[2:],
                      "every_other": row[::2], "repeated": row[:1].expand(3),
                      "flat": weight.view(16), "bits": weight.view(torch.int32)})  # fmt: skip
    with safe_open(path, "pt") as file:
        assert "two" not in file.keys()  # noqa: SIM118
    found = read_tree(path)
    assert found["one"] is found["two"] and torch.equal(found["one"], weight)
    assert torch.equal(found["turned"], weight.T)
    assert torch.equal(found["flat"], weight.view(16)) and torch.equal(found["bits"], weight.view(torch.int32))
    assert torch.equal(found["head"], row[:4]) and torch.equal(found["tail"], row[2:])
    assert torch.equal(found["every_other"], row[::2]) and torch.equal(found["repeated"], row[:1].expand(3))


def test_what_is_whole_and_on_the_cpu_is_written_from_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of a training is gigabytes, and a copy would double them."""
    written: dict[str, Tensor] = {}
    monkeypatch.setattr(trees, "write_tensors", lambda path, tensors: written.update(tensors))
    weight = torch.nn.Parameter(torch.rand(4, 4))
    write_tree(tmp_path / "tree.safetensors", {"weight": weight, "again": weight.detach(), "turned": weight.T})
    assert written["weight"].data_ptr() == weight.data_ptr() != written["turned"].data_ptr()
    assert "again" not in written and not written["weight"].requires_grad


def test_what_cannot_be_kept_is_refused_by_its_place_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "tree.safetensors"
    write_tree(path, {"a": 1})
    with pytest.raises(TypeError, match="a/1: set cannot be kept"):
        write_tree(path, {"a": [0, {1}]})
    with pytest.raises(TypeError, match="a: dict cannot be kept"):
        write_tree(path, {"a": {(1, 2): 0}})
    assert read_tree(path) == {"a": 1}
