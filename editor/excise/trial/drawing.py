"""All that a trial asks of its models, made, resumed and put where it is read from."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.files.writing import put_folder
from excise.recipe.suite import Asking
from excise.run.images import write_seconds
from excise.run.layout import Run
from excise.run.processes import Processes
from excise.run.progress import Progress
from excise.trial.blocks import Block, Part, join_images, make_parts
from excise.trial.telling import Telling, join_tellings

STAGE = "attack"
"""Under whose name the partial results lie."""


def draw(
    asking: Asking,
    blocks: Sequence[Block],
    tellings: Sequence[Telling],
    open_checkpoint: Callable[[Path], Checkpoint],
    run: Run,
    processes: Processes,
    progress: Progress,
) -> None:
    """Make this process's share of images and audits, from the first that is not done; the leading one joins them.

    What is searched for is drawn before any search, by all processes.

    Raises:
        ExciseError: a checkpoint that cannot be loaded or attacked, or that gives broken pixels.
    """
    kept = run.partial(STAGE)
    kept.mkdir(parents=True, exist_ok=True)
    first: list[Part] = [*(block for block in blocks if not block.aims), *tellings]
    aimed: list[Part] = [block for block in blocks if block.aims]
    shares = [processes.share(part) for part in (first, aimed) if part]
    mine = [block for share in shares for block in share]
    done = sum(block.calls(asking.sampling) for block in mine if block.stored(kept).exists())
    total = sum(block.calls(asking.sampling) for block in mine)
    with progress.counting("denoiser call", total, done) as bar:
        for share in shares:
            make_parts(asking, share, open_checkpoint, kept, bar)
            processes.wait()
    if processes.leads:
        shutil.rmtree(run.joined, ignore_errors=True)
        spent = Counter(join_images(blocks, kept, run.joined))
        spent.update(join_tellings(tellings, kept, run.joined))
        write_seconds(run.joined, spent)
        put_folder(run.joined, run.images)
