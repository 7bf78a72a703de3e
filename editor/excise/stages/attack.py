"""attack: ask base, edited model and controls for the same images, from the same noise, and keep what they draw.

With validate, the only stage that reads held-out, judged and never-seen prompts. Apart from it, so that another
limit, threshold or judge needs no image made again. A batch of images, or a chunk of those that are searched for, is
one partial result: a killed attack resumes there.
"""

from __future__ import annotations

from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.prompts.questions import questions_of
from excise.stages.context import Context
from excise.trial.blocks import blocks_of
from excise.trial.drawing import draw
from excise.trial.subjects import subjects_of
from excise.trial.telling import tellings_of


def run(context: Context) -> None:
    """Make every model's images, from the first batch that is not done, and join them.

    Raises:
        ExciseError: a checkpoint that cannot be loaded, or that gives broken pixels.
    """
    recipe, run = context.recipe, context.run
    asked, subjects = questions_of(context.sets), subjects_of(recipe, run, context.base)
    blocks, tellings = blocks_of(recipe, asked, subjects), tellings_of(recipe, asked, subjects)

    def open_checkpoint(folder: Path) -> Checkpoint:
        opened = [known for known in (context.base, context.twin) if known is not None and known.folder == folder]
        return opened[0] if opened else Checkpoint.open(folder)

    draw(recipe, blocks, tellings, open_checkpoint, run, context.processes, context.progress)
