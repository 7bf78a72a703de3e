"""attack: ask base, edited model and controls for the same images, from the same noise, and keep what they draw.

With validate, the only stage that reads held-out, judged and never-seen prompts. Apart from it, so that another
limit, threshold or judge needs no image made again. A batch of images, or a chunk of those that are searched for, is
one partial result: a killed attack resumes there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.files.writing import put_folder
from excise.prompts.questions import questions_of
from excise.stages.context import Context
from excise.trial.blocks import blocks_of, join_images, make_images
from excise.trial.subjects import subjects_of


def run(context: Context) -> None:
    """Make every model's images, from the first batch that is not done, and join them.

    Raises:
        ExciseError: a checkpoint that cannot be loaded, or that gives broken pixels.
    """
    recipe, processes, run = context.recipe, context.processes, context.run
    kept = run.partial("attack")
    kept.mkdir(parents=True, exist_ok=True)
    blocks = blocks_of(
        recipe,
        questions_of(context.sets),
        subjects_of(recipe, run, context.base),
    )
    share = processes.share(blocks)
    done = sum(block.calls(recipe.sampling) for block in share if block.stored(kept).exists())
    total = sum(block.calls(recipe.sampling) for block in share)

    def open_checkpoint(folder: Path) -> Checkpoint:
        opened = [known for known in (context.base, context.twin) if known is not None and known.folder == folder]
        return opened[0] if opened else Checkpoint.open(folder)

    with context.progress.counting("denoiser call", total, done) as bar:
        make_images(recipe, share, open_checkpoint, kept, bar)
    processes.wait()
    if processes.leads:
        shutil.rmtree(run.joined, ignore_errors=True)
        join_images(blocks, kept, run.joined)
        put_folder(run.joined, run.images)
