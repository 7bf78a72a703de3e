"""One safetensors file, byte by byte: where its tensors lie, and reading one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from excise.errors import ExciseError

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Dtypes that are read and edited, by their safetensors names."""
BITS = (
    dict.fromkeys(("F64", "I64", "U64", "C64"), 64)
    | dict.fromkeys(("F32", "I32", "U32"), 32)
    | dict.fromkeys(("F16", "BF16", "I16", "U16"), 16)
    | dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8)
    | {"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}
)
"""Bits of one number in every dtype that a safetensors file may hold."""
BLOCK = 2**24
"""Bytes looked at at a time where a file is read through."""
LONGEST_HEADER = 100_000_000
"""Bytes; the limit of the format's own library."""


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Offset of its first byte in the file."""
    stop: int


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of a safetensors file, by name.

    Stricter than the format's own library, which takes the last of two tensors of one name: what we edit must be what
    any other reader reads.

    Raises:
        ExciseError: the file cannot be read or is cut short; its header is too long, not JSON, or names a tensor or a
            key twice; a tensor's dtype, shape and range do not fit each other; ranges overlap or leave a gap.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LONGEST_HEADER, size - 8):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length), object_pairs_hook=_unique, parse_constant=_refuse)
        entries = _entries(header, 8 + length)
        _check_ranges(entries, 8 + length, size)
    except OSError as error:
        raise ExciseError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, RecursionError) as error:
        raise ExciseError(f"{path}: cut short, or not a safetensors file: {error}; fetch it again") from error
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        name = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"{name!r} is in the header twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not valid JSON")


def _entries(header: Any, first: int) -> dict[str, Entry]:
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    metadata = header.pop("__metadata__", None)
    if metadata is None:  # absent, or null, which the library takes for absent
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ may hold texts only")
    entries = {}
    for name, value in header.items():
        if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name!r} needs dtype, shape and data_offsets and nothing else")
        dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
        if not isinstance(dtype, str) or dtype not in BITS:
            raise ValueError(f"{name!r}: unknown dtype {dtype!r}")
        if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            raise ValueError(f"{name!r}: shape and data_offsets must be whole numbers, and a start not after its end")
        if math.prod(shape) * BITS[dtype] != 8 * (offsets[1] - offsets[0]):
            raise ValueError(f"{name!r}: {dtype} {tuple(shape)} does not fill bytes {offsets[0]} to {offsets[1]}")
        entries[name] = Entry(dtype, tuple(shape), first + offsets[0], first + offsets[1])
    return entries


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _check_ranges(entries: dict[str, Entry], first: int, size: int) -> None:
    place = first
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != place:
            raise ValueError(f"{name!r} starts at byte {entry.start}, where {place} was expected")
        place = entry.stop
    if place != size or not entries:
        raise ValueError(f"tensors end at byte {place} of {size}")


def read_range(path: Path, entry: Entry) -> bytearray:
    """The bytes of a tensor."""
    data = bytearray(entry.stop - entry.start)
    with path.open("rb") as file:
        file.seek(entry.start)
        file.readinto(data)
    return data


def read_entry(path: Path, entry: Entry) -> Tensor:
    """A tensor as it is stored, on the CPU."""
    if entry.start == entry.stop:  # torch makes no tensor of an empty buffer
        return torch.empty(entry.shape, dtype=DTYPES[entry.dtype])
    data = read_range(path, entry)
    return torch.frombuffer(data, dtype=DTYPES[entry.dtype]).reshape(entry.shape)


def not_finite(path: Path) -> str | None:
    """The first tensor of a safetensors file that holds NaN or infinity; None if there is none.

    Reads all of the file's floating-point numbers (those of 8 bits or fewer are not looked at); memory holds one block.

    Raises:
        ExciseError: as `read_header`.
    """
    entries = sorted(read_header(path).items(), key=lambda item: item[1].start)
    buffer = bytearray(BLOCK)
    with path.open("rb", buffering=0) as file:
        for name, entry in entries:
            if entry.dtype not in DTYPES:
                continue
            for start in range(entry.start, entry.stop, BLOCK):  # BLOCK is a multiple of every width
                size = min(BLOCK, entry.stop - start)
                file.seek(start)
                if file.readinto(memoryview(buffer)[:size]) != size:
                    raise ExciseError(f"{path}: became shorter while it was read; start again")
                values = torch.frombuffer(buffer, dtype=DTYPES[entry.dtype], count=size * 8 // BITS[entry.dtype])
                if not all(end.isfinite() for end in torch.aminmax(values)):  # NaN is both, if there is one
                    return name
    return None


def make_header(tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The beginning of a safetensors file whose tensors follow one another in this order.

    Args:
        tensors: dtype and shape of each, by name.
        metadata: goes into it as it is.
    """
    described: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * BITS[dtype] // 8
        described[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_sketch(path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """A safetensors file of full size whose numbers are holes: where the file system knows them, it takes no room."""
    header = make_header(aligned(tensors), {"format": "pt"})
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + sum(math.prod(shape) * BITS[dtype] // 8 for dtype, shape in tensors.values()))


def aligned(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The same in the order of the format's own library: the widest numbers first, so that all are aligned."""
    return dict(sorted(tensors.items(), key=lambda item: (-BITS[item[1][0]], item[0])))
