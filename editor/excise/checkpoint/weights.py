"""Where the tensors of a component lie in its files, in every copy of its weights (precision variants)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from excise.checkpoint.folder import variant_in, variant_of, weights_in
from excise.checkpoint.tensorfile import DTYPES, Entry, read_header
from excise.errors import ExciseError

INDEX_MARK = ".safetensors.index"


def copies_of(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The copies of a component's weights (precision variants), the one that is loaded first.

    Returns:
        Name of the file that stands for the copy, which is its index if it is sharded, to the copy's files.

    Raises:
        ExciseError: an index is broken, or names a file that is not there.
    """
    copies: dict[str, tuple[Path, ...]] = {}
    there = weights_in(folder)
    for index in sorted(file for file in folder.glob("*.json") if INDEX_MARK in file.name):
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ExciseError(f"{index}: not an index of safetensors shards: {error}; fetch it again") from error
        for shard in shards:
            if not isinstance(shard, str) or Path(shard).name != shard or folder / shard not in there:
                raise ExciseError(f"{index}: shard {shard!r} is not beside it; fetch the checkpoint again")
        copies[index.name] = tuple(folder / shard for shard in shards)
    sharded = {file for files in copies.values() for file in files}
    copies |= {file.name: (file,) for file in there if file not in sharded}
    loaded = variant_of(folder)

    def order(name: str) -> tuple[bool, bool, bool, str]:
        """As diffusers chooses: the variant, its own file names, and an index before a single file."""
        return variant_in(name) != loaded, not name.startswith("diffusion_pytorch_model"), INDEX_MARK not in name, name

    return {name: copies[name] for name in sorted(copies, key=order)}


def tensor_places(component: Path, names: Iterable[str]) -> dict[str, tuple[tuple[Path, Entry], ...]]:
    """Where each named tensor lies: once per copy of the weights, the loaded copy first.

    Args:
        component: folder of the component.
        names: tensors that will be read or edited.

    Raises:
        ExciseError: a copy lacks a tensor, or holds it in a dtype that is not plain floating point.
    """
    places: dict[str, list[tuple[Path, Entry]]] = {name: [] for name in names}
    for copy, files in copies_of(component).items():
        found = {name: (file, entry) for file in files for name, entry in read_header(file).items()}
        for name, place in places.items():
            if name not in found:
                raise ExciseError(
                    f"{component / copy}: no tensor {name!r}, so an edit would miss it; move this copy away"
                )
            if found[name][1].dtype not in DTYPES:
                raise ExciseError(
                    f"{component / copy}: {name}: stored as {found[name][1].dtype}, which cannot be edited; "
                    f"save it as one of {', '.join(DTYPES)}"
                )
            place.append(found[name])
    return {name: tuple(place) for name, place in places.items()}


def check_shapes(component: Path, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a component that lacks an expected tensor, or has it in another shape, in any copy of its weights.

    Raises:
        ExciseError: names the file and the tensor.
    """
    for copy, files in copies_of(component).items():
        found = {name: (file, entry) for file in files for name, entry in read_header(file).items()}
        for name, shape in expected.items():
            if name not in found:
                raise ExciseError(f"{component / copy}: no tensor {name!r}, which config.json asks for; fetch it again")
            file, entry = found[name]
            if entry.shape != shape:
                raise ExciseError(
                    f"{file}: {name}: shape {entry.shape}, but config.json asks for {shape}; fetch both again"
                )
