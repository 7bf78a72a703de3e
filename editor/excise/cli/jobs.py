"""Commands on jobs and runs: run, show, sweep, plan, diff."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from excise.cli.common import CHECKPOINT, FILE, FOLDER, make_release, print_run


@click.command()
@click.argument("recipe", type=FILE)
@click.option(
    "--until", metavar="STAGE", help="Stop after this stage: collect, rank, locate, edit, attack, validate, report."
)
@click.option("--fresh", is_flag=True, help="Recompute everything; by default what is done and still valid is kept.")
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: runs/NAME, the recipe's name]")
def run(recipe: Path, until: str | None, fresh: bool, out: Path | None) -> None:
    """Run the job of RECIPE: locate, edit, attack, judge.

    A run that was stopped or killed is resumed by the same command. A changed recipe, prompt table, checkpoint or
    program recomputes what depends on the change and nothing else.
    """
    from excise.job.sequence import NAMES

    if until is not None and until not in NAMES:
        raise click.BadParameter(f"{until!r} is not a stage; stages are {', '.join(NAMES)}", param_hint="--until")
    from excise.api import run_recipe

    until = until or NAMES[-1]
    folder = run_recipe(recipe, out, until, fresh, click.echo).folder
    if NAMES.index(until) >= NAMES.index("validate") and os.environ.get("RANK", "0") == "0":
        print_run(folder)
        if until == "report":  # print_run has left where the verdict refuses
            make_release(folder)


@click.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
def show(folder: Path) -> None:
    """Print what a finished run found.

    The table, the verdict and the paths, as at the run's end; exits 3 if the verdict refuses, as the run did.
    """
    print_run(folder)


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: runs/NAME, the recipe's name]")
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Images per left-out prompt.")
@click.option("--ordinary", type=click.IntRange(min=4), default=32, show_default=True, help="Ordinary prompts judged.")
@click.option("--grid", type=click.Choice(["small", "full"]), default="small", show_default=True)
def sweep(recipe: Path, out: Path | None, seeds: int, ordinary: int, grid: str) -> None:
    """Compare settings of [locate] without the held-out prompts.

    Cross-validates among the groups that locating may see, and leaves sweep.csv in the run's folder; a sweep that was
    stopped goes on where it stopped.
    """
    from excise.job.sweep import sweep_recipe

    click.echo(sweep_recipe(recipe, out, seeds, ordinary, grid, click.echo))


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: runs/NAME, the recipe's name]")
def plan(recipe: Path, out: Path | None) -> None:
    """Say what RECIPE would read, write and compute.

    Looks for all that a run would be refused for, in the weights too where they are here. Exits 1 on a fault, or if the
    job cannot fit this machine.
    """
    from rich.console import Console

    from excise.job.plan import plan_recipe

    if not plan_recipe(recipe, out, Console()):
        sys.exit(1)


@click.command()
@click.argument("base", type=CHECKPOINT)
@click.argument("edited", type=CHECKPOINT)
@click.option("--plan", type=FILE, help="Record of the edit.  [default: the edit.json beside EDITED]")
def diff(base: Path, edited: Path, plan: Path | None) -> None:
    """Compare EDITED with BASE, tensor by tensor.

    Each is a checkpoint folder, or a single file in the original layout. Of one of each, what both may have is
    compared, and what cannot be is named. Exits 1 if anything differs that the record of the edit does not name, or if
    there is no record and anything differs at all.
    """
    from rich.console import Console

    from excise.report.differences import show_differences

    if not show_differences(base, edited, plan, Console()):
        sys.exit(1)
