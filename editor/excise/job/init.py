"""excise init: a recipe for a checkpoint from its own configuration, without running it."""

from __future__ import annotations

from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.detect.first_recipe import measured, recipe_of, write_recipe
from excise.detect.ordinary import drawn_apart, ordinary_captions
from excise.detect.tables import write_split
from excise.errors import ExciseError
from excise.job.best_edit import with_best_edit
from excise.job.draft import check_never_seen, draft_recipe, usual_sampling, with_sampling
from excise.job.preflight import writing_explained
from excise.measures.replication import Rule
from excise.prompts.tables import read_table
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.sources.bring import is_elsewhere, sketched

TAKEN = 1_000
"""Ordinary captions, unless the memorized prompts are so many that they take more."""


def write_first_recipe(
    checkpoint: Path, folder: Path, memorized: Path | None, never_seen: Path | None = None
) -> list[str]:
    """Write ``recipe.toml``, ``ordinary.csv`` and ``judged.csv``; weights that are elsewhere are not fetched.

    Args:
        checkpoint: folder, single file or address.
        folder: for what is written.
        memorized: table of memorized prompts; None if it is yet to be written.
        never_seen: table of prompts and images that are in no training set; None if there is none.

    Returns:
        What is to be said.

    Raises:
        ExciseError: a checkpoint or table that cannot be used; a folder that has a recipe.
    """
    path = folder / Run.recipe.name
    for name in (Run.recipe.name, "ordinary.csv", "judged.csv"):
        if (folder / name).exists():
            raise ExciseError(f"{folder / name}: is there already; choose another --out, or remove it")
    if folder.exists() and folder.resolve() == checkpoint.resolve():
        raise ExciseError(
            f"{folder}: is the checkpoint itself, which is left as it is; choose another folder with --out"
        )
    texts = {row.text for row in read_table(memorized).rows} if memorized else set[str]()
    check_never_seen(never_seen)
    draft = draft_recipe(checkpoint, folder, memorized, never_seen=never_seen)
    if is_elsewhere(draft):
        with sketched(draft) as local:
            draft = _sampled(draft, local.model.path)
    else:
        draft = _sampled(draft, checkpoint)
    with writing_explained(Run(folder), "the recipe"):
        folder.mkdir(parents=True, exist_ok=True)
        ordinary, judged = write_split(folder, drawn_apart(ordinary_captions(max(TAKEN, 4 * len(texts))), texts))
        recipe = recipe_of(draft, folder, Rule.of(draft.validate_), neighbours=False) if memorized else measured(draft)
        write_recipe(path, recipe, _opening(memorized))
    return [
        f"  recipe                  {path}",
        f"  ordinary captions       {folder / 'ordinary.csv'} ({ordinary}), {folder / 'judged.csv'} ({judged})",
        f"  next                    excise plan {path}"
        if memorized
        else f"  next                    write {draft.prompts.memorized}, or let excise scan find what is memorized",
    ]


def _sampled(draft: Recipe, folder: Path) -> Recipe:
    checkpoint = Checkpoint.open(folder)
    sampled = with_sampling(draft, checkpoint.scheduler(), usual_sampling(checkpoint))
    return with_best_edit(sampled, checkpoint)


def _opening(memorized: Path | None) -> list[str]:
    return [
        "Made by `excise init` from the checkpoint's configuration: nothing was scanned or measured. Paths are",
        "relative to the working directory; every key with its default: editor/excise/recipe.",
        f"Memorized: {memorized or 'yours to write (columns prompt and image: the training image beside it)'}.",
    ]
