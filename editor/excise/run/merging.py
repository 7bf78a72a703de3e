"""Adding up the sums of chunks into a run's statistics, a site at a time: second moments of all sites fill a memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from excise.checkpoint.tensorfile import aligned, make_header
from excise.files.writing import written_whole
from excise.mathematics.statistics import STATISTICS, Statistic


def merge_sums(target: Path, parts: Sequence[tuple[str, Path]], left_out: str) -> None:
    """Write the sums of files, those of one name added in the order given; the bytes are as `write_tensors` makes them.

    Memory holds the sums of one site, and beside them those that are added to them.

    Args:
        target: of tensors ``{name}/{rows}/{kind}/{site}/{sum}``, as `excise.run.statistics` says.
        parts: names, and files of tensors ``{rows}/{kind}/{site}/{sum}``, float64, alike in all files of a name.
        left_out: a tensor of the files that is no sum.
    """
    with ExitStack() as opened:
        files: dict[str, list[Any]] = {}
        for name, path in parts:
            files.setdefault(name, []).append(opened.enter_context(safe_open(path, framework="pt")))
        places = aligned(
            {
                f"{name}/{key}": ("F64", tuple(first.get_slice(key).get_shape()))
                for name, (first, *_) in files.items()
                for key in first.keys()  # noqa: SIM118, it is not a dictionary
                if key != left_out
            }
        )
        with written_whole(target) as unfinished, unfinished.open("wb") as file:
            file.write(make_header(places, {}))
            for stem, within in groupby(places, lambda place: place.rpartition("/")[0]):
                name, rows, kind, site = stem.rsplit("/", 3)
                sums = [place.rpartition("/")[2] for place in within]
                added = _added(files[name], kind, f"{rows}/{kind}/{site}", sums)
                for one in sums:
                    file.write(added[one].contiguous().numpy().data)


def _added(files: Sequence[Any], kind: str, stem: str, sums: Sequence[str]) -> dict[str, Tensor]:
    """One site's sums over all files."""
    total: Statistic | None = None
    for file in files:
        part = STATISTICS[kind].from_tensors({one: file.get_tensor(f"{stem}/{one}") for one in sums})
        total = part if total is None else STATISTICS[kind].merge([total, part])
    assert total is not None, "a name has a file"
    return total.tensors()
