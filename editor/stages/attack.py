"""attack: ask base, edited model and controls for the same images, from the same noise, and keep what they draw.

With validate, the only stage that reads held-out, judged and never-seen prompts. Apart from it, so that another
limit, threshold or judge needs no image made again.

Writes the folder `images`, as docs/verdict.md describes it. The images of one arm and set are one partial result: a
killed attack resumes there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from editor.attacks.arms import arms_of, attacked_sets, make_images
from editor.diffusion.sites import sites_of
from editor.prompts import PromptSets
from editor.recipe import Recipe
from editor.stages.locate import read_masks

OUTPUT = "images"


def run(recipe: Recipe, sets: PromptSets, folder: Path) -> None:
    """Make every arm's images, from the first set that is not done, and write `images`.

    Raises:
        ExciseError: a checkpoint that cannot be loaded, or that gives broken pixels.
    """
    masks = read_masks(folder, sites_of(recipe.model.path, recipe.collect.sites))
    partial = folder / "partial" / "attack"
    partial.mkdir(parents=True, exist_ok=True)
    make_images(recipe, attacked_sets(sets), arms_of(recipe, folder), masks, partial)
    shutil.rmtree(folder / OUTPUT, ignore_errors=True)
    os.replace(partial, folder / OUTPUT)
