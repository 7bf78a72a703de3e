"""Processes of a job that find everything imported: they are forked, so that a test pays for its work alone.

A fresh Python takes eight seconds of CPU to import torch, diffusers and what stands on them. What a launcher adds, the
variables by which processes find each other, is given here; the launcher itself starts those of
`tests/run/test_processes.py` and `tests/sources/test_bring.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node")
"""The launcher, before the number of processes."""
PATIENCE = 300.0
"""Seconds after which processes that are still there hang."""
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        *(f"excise.stages.{name}" for name in ("collect", "rank", "locate", "edit", "attack", "validate", "report")),
        "excise.cli",
        "excise.api",
        "excise.job.scan",
        "excise.release.publish",
        "accelerate",
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
        "transformers.models.clip.modeling_clip",
        "model_signing.signing",
        "model_signing.verifying",
        "tests.release.faulty",
        "tests.stages.killed",
    ]
)
"""Of all tests of a worker: there is one such server in a process, and it starts with the first that needs it."""


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    returncode: int
    """That of a killed one is minus the signal."""
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Running:
    """A process, and where what it prints goes."""

    process: BaseProcess
    printed: Path

    def end(self) -> Ended:
        """Wait for it."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        assert self.process.exitcode is not None
        files = (self.printed / name for name in ("stdout", "stderr"))
        said = [file.read_text() if file.is_file() else "" for file in files]
        shutil.rmtree(self.printed)
        return Ended(self.process.exitcode, *said)


def command(*words: str) -> None:
    """The command line, as the target of a process."""
    from excise.cli import main

    main(list(words), prog_name="excise")


def start(target: Callable[..., None], *words: object, environment: dict[str, str] | None = None) -> Running:
    """A process that runs ``target`` on words, which are passed as text."""
    printed = Path(tempfile.mkdtemp())
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {})
    process = SERVER.Process(target=_run, args=(variables, str(printed), target, [str(word) for word in words]))
    process.start()
    return Running(process, printed)


def together(count: int, target: Callable[..., None], *words: object) -> list[Ended]:
    """As many processes that know each other; if one is killed, the others are ended, as launchers do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    known = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        start(target, *words, environment=known | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)
    ]
    limit = time.monotonic() + PATIENCE
    while any(one.process.is_alive() for one in started) and time.monotonic() < limit:
        if any((one.process.exitcode or 0) < 0 for one in started):
            break
        time.sleep(0.01)
    for one in started:
        if one.process.is_alive():
            one.process.terminate()
    return [one.end() for one in started]


def _run(variables: dict[str, str], printed: str, target: Callable[..., None], words: list[Any]) -> None:
    """What such a process does: its environment and streams are its own, and Ctrl-C reaches it."""
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in enumerate(("stdout", "stderr"), start=1):
        file = os.open(Path(printed) / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
    import torch

    torch.set_num_threads(1)
    target(*words)
