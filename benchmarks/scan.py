"""What a scan costs beside its denoiser calls, and whether its memory grows: ``python -m benchmarks.scan``, on a CPU.

One call and one latent a caption, the least there is. CPU seconds of all scoring are held against those inside the
denoiser in the very same run, so that nothing else the machine does at the time changes their ratio.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from benchmarks.approaches import peak_mib
from excise.checkpoint import Checkpoint
from excise.detect.ordinary import ordinary_captions
from excise.detect.scores import Scoring
from excise.detect.scoring import Scored, score_all
from excise.diffusion.load import denoiser, quiet_libraries
from excise.prompts.streams import Stream
from excise.recipe import Sampling
from excise.run.layout import Run
from excise.run.processes import join_processes

GOAL = 1.10
"""Seconds over the bare calls."""


@dataclass
class Watch:
    """Is told how far a scan is; keeps the peak memory at every power of ten."""

    done: int = 0
    memory: dict[int, int] = field(default_factory=dict)
    """MiB by captions scored."""

    @contextmanager
    def counting(self, unit: str, total: int, done: int = 0) -> Iterator[Watch]:
        self.total, self.next = total, 1000
        yield self

    def update(self, n: int) -> None:
        self.done += n
        if self.done >= self.next or self.done == self.total:
            self.memory[self.done] = peak_mib(torch.device("cpu"))
            self.next *= 10

    def set_postfix_str(self, s: str) -> None:
        pass


class Timed:
    """CPU seconds inside a model's denoiser."""

    def __init__(self, pipeline: DiffusionPipeline) -> None:
        self.seconds, self.calls = 0.0, 0
        network = denoiser(pipeline)
        network.register_forward_pre_hook(self._begin)
        network.register_forward_hook(self._end)

    def _begin(self, *_: object) -> None:
        self.started = time.process_time()

    def _end(self, *_: object) -> None:
        self.seconds += time.process_time() - self.started
        self.calls += 1


def measure(checkpoint: Path, captions: int, sampling: Sampling, dtype: torch.dtype) -> dict[str, Any]:
    """Score so many of the captions that come along, as a scan does."""
    quiet_libraries()
    pipeline = Checkpoint.open(checkpoint).load(dtype, torch.device("cpu"))
    timed, watch = Timed(pipeline), Watch()
    with tempfile.TemporaryDirectory() as name:
        table = Path(name) / "captions.txt"
        table.write_text("".join(f"{text}\n" for text in ordinary_captions(captions)), encoding="utf-8")
        scored = Scored(Run(Path(name)), "captions", Stream(table), captions)
        started = time.process_time()
        score_all(scored, lambda: pipeline, Scoring(sampling, seeds=1), join_processes(), watch)
        seconds = time.process_time() - started
    return {
        "captions": captions,
        "batch": sampling.batch,
        "calls": timed.calls,
        "seconds": round(seconds, 2),
        "inside_the_denoiser": round(timed.seconds, 2),
        "ratio": round(seconds / timed.seconds, 4),
        "goal": GOAL,
        "peak_mib": watch.memory,
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=Path("checkpoints/testbed/base"))
    parser.add_argument("--captions", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    given = parser.parse_args()
    sampling = Sampling(steps=10, guidance=given.guidance, batch=given.batch)
    print(json.dumps(measure(given.checkpoint, given.captions, sampling, getattr(torch, given.dtype)), indent=1))


if __name__ == "__main__":
    main()
