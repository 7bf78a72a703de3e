"""All images of a trial, drawn, resumed and put where they are read from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.files.writing import put_folder
from excise.recipe.suite import Asking
from excise.run.layout import Run
from excise.run.processes import Processes
from excise.run.progress import Progress
from excise.trial.blocks import Block, join_images, make_images

STAGE = "attack"
"""Under whose name the partial results lie."""


def draw(
    asking: Asking,
    blocks: Sequence[Block],
    open_checkpoint: Callable[[Path], Checkpoint],
    run: Run,
    processes: Processes,
    progress: Progress,
) -> None:
    """Make this process's share of the images, from the first block that is not done; the leading one joins them.

    What is searched for is drawn before any search, by all processes.

    Raises:
        ExciseError: a checkpoint that cannot be loaded or attacked, or that gives broken pixels.
    """
    kept = run.partial(STAGE)
    kept.mkdir(parents=True, exist_ok=True)
    parts = ([block for block in blocks if not block.aims], [block for block in blocks if block.aims])
    shares = [processes.share(part) for part in parts if part]
    mine = [block for share in shares for block in share]
    done = sum(block.calls(asking.sampling) for block in mine if block.stored(kept).exists())
    total = sum(block.calls(asking.sampling) for block in mine)
    with progress.counting("denoiser call", total, done) as bar:
        for share in shares:
            make_images(asking, share, open_checkpoint, kept, bar)
            processes.wait()
    if processes.leads:
        shutil.rmtree(run.joined, ignore_errors=True)
        join_images(blocks, kept, run.joined)
        put_folder(run.joined, run.images)
