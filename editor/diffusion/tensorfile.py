"""One safetensors file, byte by byte: where its tensors lie, reading one, writing over one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from editor.errors import ExciseError

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Dtypes that are read and edited, by their safetensors names."""


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Offset of its first byte in the file."""
    stop: int


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_range(path: Path, start: int, stop: int) -> str:
    """Hex sha256 of a part of a file's bytes."""
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(stop - start)).hexdigest()


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of a safetensors file, by name.

    Raises:
        ExciseError: the file cannot be read, is cut short, or is not safetensors.
    """
    entries = {}
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            first = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(first - 8)) if 8 < first <= size else {}
        header.pop("__metadata__", None)
        for name, value in header.items():
            start, stop = value["data_offsets"]
            entries[name] = Entry(value["dtype"], tuple(value["shape"]), first + start, first + stop)
    except OSError as error:
        raise ExciseError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExciseError(f"{path}: not a safetensors file: {error}; fetch it again") from error
    if max((entry.stop for entry in entries.values()), default=-1) != size:
        raise ExciseError(f"{path}: cut short, or not a safetensors file; fetch it again")
    return entries


def read_entry(path: Path, entry: Entry) -> Tensor:
    """A tensor as it is stored, on the CPU."""
    data = bytearray(entry.stop - entry.start)
    with path.open("rb") as file:
        file.seek(entry.start)
        file.readinto(data)
    return torch.frombuffer(data, dtype=DTYPES[entry.dtype]).reshape(entry.shape)


def overwrite(path: Path, name: str, entry: Entry, value: Tensor) -> str:
    """Write over a tensor in place; returns the hex sha256 of its new bytes.

    Raises:
        ExciseError: ``value`` has another shape or dtype.
    """
    if tuple(value.shape) != entry.shape or value.dtype != DTYPES[entry.dtype]:
        raise ExciseError(
            f"{path}: {name}: {entry.dtype} {entry.shape} in the file, but the edit gives {value.dtype} "
            f"{tuple(value.shape)}; locate again on this checkpoint"
        )
    data = value.contiguous().view(torch.uint8).numpy().tobytes()
    with path.open("r+b") as file:
        file.seek(entry.start)
        file.write(data)
    return hashlib.sha256(data).hexdigest()
