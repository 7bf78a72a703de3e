"""Commands on jobs and runs: run, show, sweep, plan, diff."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import get_args

import click

from excise.cli.common import CHECKPOINT, FILE, FOLDER, json_option, print_json, print_run, speaker
from excise.job.names import NAMES
from excise.recipe import Collect, load_recipe

FAMILIES = get_args(Collect.model_fields["sites"].annotation)


@click.command()
@click.argument("recipe", type=FILE)
@click.option(
    "--until",
    type=click.Choice(NAMES),
    metavar="STAGE",
    default=NAMES[-1],
    help=f"Stop after this stage: {', '.join(NAMES)}.",
)
@click.option("--fresh", is_flag=True, help="Recompute everything; by default what is done and still valid is kept.")
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: runs/NAME, the recipe's name]")
@json_option
def run(recipe: Path, until: str, fresh: bool, out: Path | None, as_json: bool) -> None:
    """Run the job of RECIPE: locate, edit, attack, judge.

    A run that was stopped or killed is resumed by the same command. A changed recipe, prompt table, checkpoint or
    program recomputes what depends on the change and nothing else.
    """
    load_recipe(recipe)  # a slip in it is answered before torch is loaded
    from excise.api import run_recipe

    folder = run_recipe(recipe, out, until, fresh, speaker(as_json)).folder
    if os.environ.get("RANK", "0") != "0":
        return
    if NAMES.index(until) >= NAMES.index("validate"):
        print_run(folder, as_json, release=until == NAMES[-1])
    elif as_json:
        from excise.report.machine import run_document
        from excise.run.layout import Run

        print_json(run_document(Run(folder)))


@click.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
@json_option
def show(folder: Path, as_json: bool) -> None:
    """Print what a finished run found.

    The table, the verdict and the paths, as at the run's end; exits 3 if the verdict refuses, as the run did.
    """
    print_run(folder, as_json)


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: runs/NAME, the recipe's name]")
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Images per memorized prompt.")
@click.option("--ordinary", type=click.IntRange(min=4), default=32, show_default=True, help="Ordinary prompts judged.")
@click.option("--grid", type=click.Choice(["small", "full", "locate"]), default="small", show_default=True)
@click.option(
    "--sites",
    type=click.Choice(FAMILIES),
    multiple=True,
    help="Family of sites; again for another.  [default: the recipe's]",
)
@click.option(
    "--search",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Images searched for by embeddings: it costs.",
)
def sweep(
    recipe: Path, out: Path | None, seeds: int, ordinary: int, grid: str, sites: tuple[str, ...], search: int
) -> None:
    """Compare methods and strengths of editing without the held-out prompts.

    Cross-validates among the groups that locating may see. Leaves a table, what comes back against what is damaged as a
    picture, and a recipe with the settings chosen. A sweep that was stopped goes on where it stopped.
    """
    load_recipe(recipe)
    from excise.job.sweep import Extent, sweep_recipe

    sweep_recipe(recipe, out, Extent(seeds, ordinary, search), grid, sites, speaker())


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: runs/NAME, the recipe's name]")
@json_option
def plan(recipe: Path, out: Path | None, as_json: bool) -> None:
    """Say what RECIPE would read, write and compute.

    Looks for all that a run would be refused for, in the weights too where they are here. Exits 1 on a fault, or if the
    job cannot fit this machine.
    """
    load_recipe(recipe)
    from rich.console import Console

    from excise.job.plan import plan_recipe, show_plan

    found = plan_recipe(recipe, out)
    if as_json:
        print_json(found.document())
    else:
        show_plan(found, Console())
    if found.faults:
        sys.exit(1)


@click.command()
@click.argument("base", type=CHECKPOINT)
@click.argument("edited", type=CHECKPOINT)
@click.option("--plan", type=FILE, help="Record of the edit.  [default: the edit.json beside EDITED]")
@json_option
def diff(base: Path, edited: Path, plan: Path | None, as_json: bool) -> None:
    """Compare EDITED with BASE, tensor by tensor.

    Each is a checkpoint folder, or a single file in the original layout. Of one of each, what both may have is
    compared, and what cannot be is named. Exits 1 if anything differs that the record of the edit does not name, or if
    there is no record and anything differs at all.
    """
    from rich.console import Console

    from excise.report.differences import find_differences, show_differences

    found = find_differences(base, edited, plan)
    if as_json:
        print_json(found.document())
    else:
        show_differences(found, Console())
    if not found.as_planned:
        sys.exit(1)
