"""Attack a checkpoint from a notebook, whatever it was edited by; the command ``excise attack`` calls the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from excise.verdict.row import Row


def attack_checkpoint(
    checkpoint: Path | str,
    prompts: Path | str,
    twin: Path | str | None = None,
    never_seen: Path | str | None = None,
    base: Path | str | None = None,
    recipe: Path | str | None = None,
    attacks: tuple[str, ...] = (),
    images: int | None = None,
    out: Path | str | None = None,
    fresh: bool = False,
    progress: Callable[[str], None] = print,
) -> Row:
    """Attack a checkpoint that was edited by whatever tool, or go on with what was stopped.

    Args:
        checkpoint: its folder, in diffusers layout.
        prompts: table of prompts and the images that should not come back.
        twin: folder of a model of the same training that never saw the images.
        never_seen: table of prompts and images that no model saw.
        base: folder of what was edited.
        recipe: file whose sections on sampling, attacks, measuring and limits are read.
        attacks: names of attacks beside replay; none are the recipe's, without one all.
        images: how many of each set are searched for; None is all.
        out: folder of what is found; ``runs/attack-<checkpoint>`` if None.
        fresh: draw everything again; else what is done and still valid is kept.
        progress: is told each step, a line at a time.

    Raises:
        ExciseError: a fault of what is given, before long work where that can be.
    """
    from excise.recipe.suite import suite_of

    def path(given: Path | str | None) -> Path | None:
        return None if given is None else Path(given)

    suite = suite_of(
        Path(checkpoint), Path(prompts), path(twin), path(never_seen), path(base), path(recipe), attacks, images
    )
    from excise.job.suite import run_suite  # heavy, and not before what was given is looked at

    return run_suite(suite, path(out), fresh, progress)
