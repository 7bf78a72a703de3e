"""Does an edited folder differ from its base in what its record names, and in nothing else?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from excise.checkpoint.compare import Difference
from excise.checkpoint.tensorfile import BITS, DTYPES, Entry, read_entry, read_header, read_range
from excise.diffusion.load import DENOISERS
from excise.edits.edit_record import ChangedTensor, TensorCopy
from excise.edits.recorder import squared_distance


def unplanned(differences: Iterable[Difference], planned: Mapping[str, ChangedTensor]) -> Iterator[str]:
    """What differs and is not planned, and what is planned and does not differ so, each in a sentence.

    Where the record says that entries were zeroed, what differs must be zero; and every recorded copy of a tensor must
    differ in as many entries as recorded.
    """
    found: dict[tuple[str, str], Difference] = {}
    for difference in differences:
        where = f"{difference.file}: {difference.tensor}".rstrip(": ")
        copy = _copy(planned, difference)
        if difference.what != "entries":
            yield f"{where} {difference.what}"
        elif copy is None or difference.file.split("/")[0] not in DENOISERS:
            yield f"{where} differs, and is not in the plan"
        else:
            found[difference.tensor, difference.file] = difference
            if difference.changed != copy.changed:
                yield f"{where} differs in {difference.changed} entries, and {copy.changed} are planned"
            if planned[difference.tensor].zeroed is not None and difference.not_zero:
                yield f"{where}: {difference.not_zero} of the entries that differ are not zero, as planned"
    for name, tensor in planned.items():
        for file, copy in tensor.copies.items():
            if copy.changed and (name, file) not in found:
                yield f"{file}: {name} is planned and does not differ"


def _copy(planned: Mapping[str, ChangedTensor], difference: Difference) -> TensorCopy | None:
    tensor = planned.get(difference.tensor)
    return None if tensor is None else tensor.copies.get(difference.file)


def altered(folder: Path, planned: Mapping[str, ChangedTensor]) -> Iterator[str]:
    """Tensors of an edited folder that are not those of the record: by size, sha256, and number of zeros."""
    for name, file, entry in _places(folder, planned):
        tensor, copy = planned[name], planned[name].copies[file]
        if entry is None:
            yield f"{file}: {name} is not there, though it is said to be changed"
            continue
        size = math.prod(entry.shape)
        if not max(copy.changed, tensor.zeroed or 0) <= tensor.entries <= size:
            yield f"{file}: {name}: {copy.changed} changed of {tensor.entries} entries, of {size} in the file"
        if tensor.zeroed is not None and copy.changed > tensor.zeroed:
            yield f"{file}: {name}: {copy.changed} entries are said to differ, and only {tensor.zeroed} to be zeroed"
        data = read_range(folder / file, entry)
        if hashlib.sha256(data).hexdigest() != copy.after:
            yield f"{file}: {name} does not have the sha256 that is recorded"
        if tensor.zeroed is not None and (zeros := _zeros(data, entry)) < tensor.zeroed:
            yield f"{file}: {name}: {tensor.zeroed} entries are said to be zeroed, and {zeros} are zero"


def of_another_base(base: Path, planned: Mapping[str, ChangedTensor]) -> Iterator[str]:
    """Tensors of a base that are not those that the record says were edited, by sha256."""
    for name, file, entry in _places(base, planned):
        found = hashlib.sha256(read_range(base / file, entry)).hexdigest() if entry else None
        if found != planned[name].copies[file].before:
            yield f"{file}: {name} does not have the sha256 that is recorded of the base"


def misstated_norms(base: Path, edited: Path, planned: Mapping[str, ChangedTensor]) -> Iterator[str]:
    """Tensors whose difference from the base's has another norm than is recorded."""
    for (name, file, before), (_, _, after) in zip(_places(base, planned), _places(edited, planned), strict=True):
        if before is None or after is None or {before.dtype, after.dtype} - DTYPES.keys():
            yield f"{file}: {name} is not there, or no tensor that could be edited"
        elif before.shape != after.shape:
            yield f"{file}: {name} is {after.shape}, was {before.shape}"
        else:
            pair = (read_entry(folder / file, entry) for folder, entry in ((base, before), (edited, after)))
            norm = math.sqrt(squared_distance(*(value.reshape(-1) for value in pair)))
            if not math.isclose(norm, stated := planned[name].copies[file].norm, rel_tol=1e-6):
                yield f"{file}: {name} differs by {norm:.9g} from the base's, and {stated:.9g} is recorded"


def _places(folder: Path, planned: Mapping[str, ChangedTensor]) -> Iterator[tuple[str, str, Entry | None]]:
    """Every recorded copy of a tensor: its name, its file, and where it lies in that file, if it does."""
    header = cache(lambda file: read_header(folder / file))
    for name, tensor in planned.items():
        yield from ((name, file, header(file).get(name)) for file in tensor.copies)


def _zeros(data: bytes | bytearray, entry: Entry) -> int:
    """Entries that are zero, a negative zero included."""
    width = BITS[entry.dtype] // 8
    entries = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
    return int(((entries[:, :-1] == 0).all(axis=1) & ((entries[:, -1] & 0x7F) == 0)).sum())
