"""Trees of tensors on disk, such as the state of a training, written whole or not at all and read back exactly.

A file is safetensors: a tensor for each tensor of the tree, under its place in it ("optimizer/state/3/exp_avg"), and
one of UTF-8 bytes, the JSON of all the rest: which dict, list or tuple holds what, numbers, strings, strides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from excise.errors import ExciseError
from excise.files.writing import write_tensors

_STRUCTURE = "structure"


def write_tree(path: Path, tree: Mapping[str, Any]) -> None:
    """Write dicts, lists and tuples, one within another, of tensors, numbers, strings, booleans and None.

    Values, dtypes and the order of elements in memory come back exactly; the device does not (`read_tree` gives CPU
    tensors). A tensor that is in several places is stored once and comes back as one; tensors that share only a
    part of their memory come back apart, and one with gaps or repeats in memory comes back without. A dict of any
    kind comes back as a plain one.

    Raises:
        TypeError: anything else in the tree; the message says where.
    """
    kept = _Kept()
    structure = {"tree": _pack(dict(tree), "", kept), "strides": kept.strides}
    kept.tensors[_STRUCTURE] = torch.frombuffer(bytearray(json.dumps(structure).encode()), dtype=torch.uint8)
    write_tensors(path, kept.tensors)


def read_tree(path: Path) -> dict[str, Any]:
    """What `write_tree` wrote, its tensors on the CPU, each in memory of its own.

    Raises:
        ExciseError: no such file, or it cannot be read.
    """
    try:
        stored = load_file(path)
        structure = json.loads(stored.pop(_STRUCTURE).numpy().tobytes())
        strides: dict[str, list[int]] = structure["strides"]
        tensors = {name: _laid_out(tensor, strides.get(name)) for name, tensor in stored.items()}
        tree: dict[str, Any] = _unpack(structure["tree"], tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ExciseError(f"{path}: not the state of a training ({error}); remove it to start again") from error
    return tree


@dataclass
class _Kept:
    """The tensors of a tree, gathered while it is packed."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Contiguous, on the CPU, none of them of another's memory: the tree's own where they are that, else copies."""
    strides: dict[str, list[int]] = field(default_factory=dict)
    """Of those that were not contiguous.

    A convolution's weight in channels-last order has optimiser states in the same order, and the fused optimisers walk
    the memory of the three side by side without a look at their strides: a state that came back contiguous would be
    added to the wrong weights.
    """
    names: dict[tuple[Any, ...], str] = field(default_factory=dict)
    memories: set[int] = field(default_factory=set)
    """Where those begin that are not copies: a training's state is gigabytes."""

    def add(self, place: str, tensor: Tensor) -> str:
        """Keep a tensor and return its name, which is ``place`` unless it is kept or the name taken already."""
        # What the tree holds stays alive while it is packed, so no other tensor can come to lie at the same address.
        identity = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if identity in self.names:
            return self.names[identity]
        while place in self.tensors or place == _STRUCTURE:
            place += "'"  # {"a/b": x, "a": {"b": y}}
        plain = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        strides = torch.empty_like(tensor, device="meta").stride()
        if strides != plain.stride():
            self.strides[place] = list(strides)
        self.tensors[place] = self._own(tensor.detach())
        self.names[identity] = place
        return place

    def _own(self, tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        whole = tensor.device.type == "cpu" and tensor.is_contiguous() and memory.nbytes() == tensor.nbytes
        if not whole or memory.data_ptr() in self.memories:
            return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
        self.memories.add(memory.data_ptr())
        return tensor


def _pack(node: Any, place: str, kept: _Kept) -> Any:
    """``node`` as JSON, its tensors by name; what JSON cannot tell from a list is a dict of one key, its kind."""
    inside = f"{place}/" if place else ""
    if isinstance(node, Tensor):
        return {"tensor": kept.add(place, node)}
    if isinstance(node, dict) and all(isinstance(key, str | int) for key in node):
        return {"dict": [[key, _pack(value, f"{inside}{key}", kept)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        items = [_pack(value, f"{inside}{i}", kept) for i, value in enumerate(node)]
        return {"tuple": items} if isinstance(node, tuple) else items
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(
        f"{place}: {type(node).__name__} cannot be kept: only dicts with keys of str or int, lists, tuples, tensors, "
        "numbers, strings, booleans and None"
    )


def _unpack(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The opposite of `_pack`."""
    if isinstance(node, list):
        return [_unpack(value, tensors) for value in node]
    if not isinstance(node, dict):
        return node
    [(kind, content)] = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_unpack(value, tensors) for value in content)
    return {key: _unpack(value, tensors) for key, value in content}


def _laid_out(tensor: Tensor, strides: list[int] | None) -> Tensor:
    """A copy in memory of its own, in the order that ``strides`` says; None is contiguous."""
    if strides is None:
        return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)
