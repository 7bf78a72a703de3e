"""attack: ask base, edited model and controls for the same images, from the same noise, and keep what they draw.

With validate, the only stage that reads held-out, judged and never-seen prompts. Apart from it, so that another
limit, threshold or judge needs no image made again.

Writes the folder `images`, as docs/verdict.md describes it. A batch of images is one partial result: a killed attack
resumes there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tqdm import tqdm

from editor.attacks.arms import arms_of, attacked_sets, blocks_of, join_images, make_images
from editor.diffusion.sites import sites_of
from editor.prompts import PromptSets
from editor.recipe import Recipe
from editor.stages.locate import read_masks
from editor.team import ALONE, Team

OUTPUT = "images"


def run(recipe: Recipe, sets: PromptSets, folder: Path, team: Team = ALONE) -> None:
    """Make every arm's images, from the first batch that is not done, and write `images`.

    Raises:
        ExciseError: a checkpoint that cannot be loaded, or that gives broken pixels.
    """
    masks = read_masks(folder, sites_of(recipe.model.path, recipe.collect.sites))
    partial, joined = folder / "partial" / "attack", folder / "partial" / "attack" / "joined"
    partial.mkdir(parents=True, exist_ok=True)
    blocks = blocks_of(recipe, attacked_sets(sets), arms_of(recipe, folder))
    mine = team.mine(blocks)
    done = sum(len(block.pairs) for block in mine if block.stored(partial).exists())
    total = sum(len(block.pairs) for block in mine)
    with tqdm(total=total, initial=done, desc="images", unit="image", disable=not team.leads) as progress:
        make_images(recipe, mine, masks, partial, progress)
    team.wait()
    if team.leads:
        shutil.rmtree(joined, ignore_errors=True)
        join_images(blocks, partial, joined)
        shutil.rmtree(folder / OUTPUT, ignore_errors=True)
        os.replace(joined, folder / OUTPUT)
