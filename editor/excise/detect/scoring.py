"""Captions scored chunk by chunk, resumed and shared between processes; what is merged has the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from safetensors.torch import load_file

from excise.detect.scores import Scoring, cut, score
from excise.detect.settings import chunk_size
from excise.files.writing import write_tensors
from excise.prompts.streams import Caption, Stream, chunks
from excise.run.layout import Run
from excise.run.processes import Processes
from excise.run.progress import Progress

CUT = "cut"
"""Beside the scores of a part: which captions the tokenizer cuts."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """A table of captions and where its scores are, part by part."""

    run: Run
    name: str
    """Of the parts' folder."""
    captions: Iterable[Caption]
    """Read from the beginning each time."""
    count: int

    @cached_property
    def chunk(self) -> int:
        """Captions of a part."""
        return chunk_size(self.count)

    @property
    def parts(self) -> int:
        """How many there are."""
        return -(-self.count // self.chunk)

    def part(self, number: int) -> Path:
        """File of a part."""
        return self.run.part(self.name, f"{number:05d}")

    def chunks(self) -> Iterator[tuple[Caption, ...]]:
        """The captions of each part."""
        return chunks(self.captions, self.chunk)

    def scores(self, name: str) -> Iterator[Numbers]:
        """One score, part by part, in order."""
        for number in range(self.parts):
            yield load_file(self.part(number))[name].numpy()

    def rows(self, names: Sequence[str]) -> Iterator[tuple[Caption, dict[str, float]]]:
        """Captions with their scores, in order; memory holds one part."""
        for number, chunk in enumerate(self.chunks()):
            found = load_file(self.part(number))
            columns = {name: found[name].tolist() for name in names}
            for place, caption in enumerate(chunk):
                yield caption, {name: values[place] for name, values in columns.items()}


def count_captions(stream: Stream) -> int:
    """How many captions a table has: all of it is read, so that a fault in it is found before anything is computed.

    Raises:
        ExciseError: as reading it.
    """
    return sum(1 for _ in stream)


def score_all(
    scored: Scored,
    load: Callable[[], DiffusionPipeline],
    scoring: Scoring,
    processes: Processes,
    progress: Progress,
) -> None:
    """Score this process's chunks that are not on disk; the model is loaded if there are any.

    Args:
        scored: the captions.
        load: gives the model, the same each time.
        scoring: how.
        processes: those that share the work; a chunk's scores do not depend on which does it.
        progress: is told.

    Raises:
        ExciseError: as `excise.detect.scores.score`.
    """
    scored.part(0).parent.mkdir(parents=True, exist_ok=True)
    own = processes.share(range(scored.parts))
    todo = {number for number in own if not scored.part(number).exists()}
    if todo:
        pipeline = load()

        def length(number: int) -> int:
            return min(scored.chunk, scored.count - number * scored.chunk)

        total = sum(map(length, own))
        with progress.counting("caption", total, total - sum(map(length, todo))) as bar:
            for number, chunk in enumerate(scored.chunks()):
                if number in todo:
                    texts = [caption.text for caption in chunk]
                    found = score(pipeline, texts, scoring)
                    write_tensors(scored.part(number), found | {CUT: cut(pipeline, texts).to(torch.uint8)})
                    bar.update(len(chunk))
    processes.wait()
