"""A job whose recipe leaves the edit to a sweep (``edit.method = "auto"``): what it chooses is made and judged.

The sweep reads what a sweep may read: no held-out, judged or never-seen prompt, and no seed of validation.
"""

from __future__ import annotations

from pathlib import Path

from excise.errors import ExciseError
from excise.files.writing import remove
from excise.job.crossed import check_pictured
from excise.job.forecast import duration
from excise.job.grids import COMPARED, candidates_of
from excise.job.names import NAMES
from excise.job.progress import Say
from excise.job.runner import default_folder, run_job
from excise.job.sweep import Extent, sweep_recipe
from excise.prompts.sets import PromptSets
from excise.prompts.swept import swept_sets
from excise.recipe import Recipe, load_recipe
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.processes import join_processes
from excise.sources.bring import is_elsewhere, pinned


def run_any(
    given: Path | Recipe, out: Path | None = None, until: str = NAMES[-1], fresh: bool = False, say: Say = print
) -> Run:
    """Run a job, as `excise.job.runner.run_job`; where its recipe says so, choose its edit first.

    Raises:
        ExciseError: as `run_job`, and as `excise.job.sweep.sweep_recipe`; more than one process; no setting that could
            be made.
    """
    recipe = given if isinstance(given, Recipe) else load_recipe(given)
    if recipe.edit.method != "auto":
        return run_job(given, out, until, fresh, say)
    run = Run(out or default_folder(recipe))
    chosen = chosen_for(recipe, run, fresh, say)
    return run_job(chosen, run.folder, until, fresh, say, origin=f"{_name(given)}, as a sweep chose")


def _name(given: Path | Recipe) -> str:
    return given.name if isinstance(given, Recipe) else str(given)


def chosen_for(recipe: Recipe, run: Run, fresh: bool, say: Say) -> Recipe:
    """The recipe with the edit that a sweep within its time chooses; one that was made before in the folder counts.

    Raises:
        ExciseError: as `run_any`.
    """
    settings = recipe.edit.auto
    if join_processes().count > 1:
        raise ExciseError(
            'edit.method = "auto": settings are compared in one process; run excise sweep with this recipe first, and '
            f"the recipe that it leaves ({Run.chosen.name}) with all processes"
        )
    if fresh:
        remove(run.sweep)
    remove(run.chosen)
    extent = Extent(search=settings.search)
    sweep_recipe(recipe, run.folder, extent, settings.grid, say=say, seconds=60.0 * settings.minutes)
    if not run.chosen.is_file():
        raise ExciseError(
            f'edit.method = "auto": none of the settings could be made ({Run.sweep_table.name} says why); '
            "name another method"
        )
    chosen = load_recipe(run.chosen).model_copy(update={"name": recipe.name})
    if is_elsewhere(recipe):
        chosen = pinned(chosen, load_record(run.sweep_run(recipe.collect.sites)).sources)
    return chosen


def supposed(recipe: Recipe, sets: PromptSets) -> tuple[Recipe, tuple[str, ...]]:
    """For a plan: a recipe whose edit takes at least what any that ``auto`` may choose takes, and what is to be known.

    Raises:
        ExciseError: nothing could be compared.
    """
    if recipe.edit.method != "auto":
        return recipe, ()
    settings = recipe.edit.auto
    check_pictured(swept_sets(sets, Extent().ordinary))
    count = sum(not one.control for one in candidates_of(recipe, settings.grid))
    most = recipe.model_copy(update={"edit": recipe.edit.model_copy(update={"method": "compensate"})})
    return most, (
        f"edit.auto: first up to {count} settings of {', '.join(COMPARED)} are compared among located prompts for at "
        f"most {duration(60.0 * settings.minutes)} (edit.auto.minutes), beside collecting for them and what the base "
        "draws; what is said here of the job is of the largest of them",
    )
