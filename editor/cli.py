"""The commands: they parse and print. What is heavy is imported where it is used, so that ``--help`` is instant."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from editor import __version__
from editor.errors import ExciseError

REFUSED = 3
INTERRUPTED = 130
RECIPE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class _Group(click.Group):
    """A group whose errors that the user can mend end in one message, without a traceback."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except ExciseError as error:
            click.echo(f"excise: {error}", err=True)
            context.exit(1)
        except KeyboardInterrupt:
            click.echo("\nexcise: interrupted; the same command resumes where it stopped", err=True)
            context.exit(INTERRUPTED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="excise")
def main() -> None:
    """Make a text-to-image diffusion model forget the training images it copied, and prove it.

    Exit codes: 0 done, and accepted where a verdict was reached; 1 something to mend, with a message that says what;
    2 wrong usage; 3 the verdict refuses the edit; 130 interrupted.
    """


@main.command()
@click.argument("recipe", type=RECIPE)
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
    from editor.plan import NAMES

    if until is not None and until not in NAMES:
        raise click.BadParameter(f"{until!r} is no stage; the stages are {', '.join(NAMES)}", param_hint="--until")
    from editor.job import run_job

    until = until or NAMES[-1]
    folder = run_job(recipe, out, until, fresh)
    if NAMES.index(until) >= NAMES.index("validate") and os.environ.get("RANK", "0") == "0":
        _show(folder)
        if until == "report":  # _show has left where the verdict refuses
            _release(folder)


@main.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
def show(folder: Path) -> None:
    """Print what a finished run found.

    The table, the verdict and the paths, as at the run's end; exits 3 if the verdict refuses, as the run did.
    """
    _show(folder)


@main.command()
@click.argument("recipe", type=RECIPE)
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: runs/NAME, the recipe's name]")
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Images per left-out prompt.")
@click.option("--ordinary", type=click.IntRange(min=4), default=32, show_default=True, help="Ordinary prompts judged.")
@click.option("--grid", type=click.Choice(["small", "full"]), default="small", show_default=True)
def sweep(recipe: Path, out: Path | None, seeds: int, ordinary: int, grid: str) -> None:
    """Compare settings of [locate] without the held-out prompts.

    Cross-validates among the groups that locating may see, and leaves sweep.csv in the run's folder; a sweep that was
    stopped goes on where it stopped.
    """
    from editor.job import local_recipe, locked, run_job
    from editor.recipe import load_recipe
    from editor.record import load_record
    from editor.sources import pinned
    from editor.sweep import GRIDS, run_sweep

    folder = run_job(recipe, out, "collect")
    with locked(folder):
        loaded, _ = local_recipe(pinned(load_recipe(recipe), load_record(folder).sources), folder)
    click.echo(run_sweep(loaded, folder, seeds, ordinary, GRIDS[grid](loaded)))


@main.command()
@click.argument("recipe", type=RECIPE)
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: runs/NAME, the recipe's name]")
def plan(recipe: Path, out: Path | None) -> None:
    """Say what RECIPE would read, write and compute.

    Reads configurations and headers, no weights; exits 1 if the job cannot fit this machine.
    """
    from rich.console import Console

    from editor.estimate import show_plan
    from editor.preflight import quiet_libraries
    from editor.prompts import prompt_sets
    from editor.recipe import load_recipe
    from editor.sources import sketched

    quiet_libraries()
    loaded = load_recipe(recipe)
    with sketched(loaded) as local:
        fits = show_plan(local, prompt_sets(local), out or Path("runs") / loaded.name, Console())
    if not fits:
        sys.exit(1)


@main.command()
@click.argument("base", type=FOLDER)
@click.argument("edited", type=FOLDER)
@click.option("--plan", type=RECIPE, help="Record of the edit.  [default: the edit.json beside EDITED]")
def diff(base: Path, edited: Path, plan: Path | None) -> None:
    """Compare EDITED with BASE, tensor by tensor.

    Exits 1 if anything differs that the record of the edit does not name, or if there is no record and anything
    differs at all.
    """
    from rich.console import Console

    from editor.differences import show_differences

    if not show_differences(base, edited, plan, Console()):
        sys.exit(1)


@main.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
def release(folder: Path) -> None:
    """Make the release folder of a finished run.

    A run does that itself at its end; this makes it again. What the verdict refuses is not released.
    """
    _release(folder)


@main.command()
@click.argument("folder", metavar="RELEASE", type=FOLDER)
@click.option("--public-key", type=RECIPE, help="PEM file of the publisher's key: checks the signature.")
@click.option("--base", type=FOLDER, help="Folder of the base: checks that only the planned tensors differ.")
def verify(folder: Path, public_key: Path | None, base: Path | None) -> None:
    """Check a release folder, your own or a download.

    Every hash, the safety of every file, the signature, that the verdict follows from its numbers, and the base.
    Exits 1 if anything is wrong.
    """
    from editor.release.verify import verify as look

    findings = look(folder, public_key, base)
    for finding in findings:
        mark = "wrong" if finding.faults else "–" if finding.skipped else "right"
        click.echo(f"{mark:6}{finding.what:10}{finding.note}".rstrip())
        for fault in finding.faults:
            click.echo(f"      - {fault}")
    if any(finding.faults for finding in findings):
        sys.exit(1)


@main.command()
@click.argument("folder", metavar="RELEASE", type=FOLDER)
@click.option("--repo", required=True, metavar="ORG/NAME", help="The model repository on the Hub; made if need be.")
@click.option("--public-key", type=RECIPE, help="PEM file of your public key: checks the signature first.")
@click.option("--dry-run", is_flag=True, help="Print what would change and change nothing; needs no token.")
def publish(folder: Path, repo: str, public_key: Path | None, dry_run: bool) -> None:
    """Publish a release folder on the Hugging Face Hub.

    All of it or nothing: upload to a pull request, check what arrived, then move the default branch in one step, tag,
    and set visibility. Cut off anywhere, the same command goes on. The token is `hf auth login`'s or HF_TOKEN.
    """
    from editor.hub.publish import publish as put

    put(folder, repo, public_key, dry_run, click.echo)


@main.group()
def testbed() -> None:
    """Train or check the embedded model."""


@testbed.command("train")
@click.argument("recipe", type=RECIPE)
@click.option("--out", type=FOLDER, help="Folder of the checkpoints.  [default: checkpoints/testbed]")
def train(recipe: Path, out: Path | None) -> None:
    """Train base and twin from RECIPE.

    Hours on a CPU, minutes on a GPU; a training that was stopped or killed is resumed by the same command.
    """
    import logging

    from editor.testbed.train import train_testbed

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train_testbed(recipe, out)


@testbed.command("check")
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True, help="Images per prompt.")
@click.option("--folder", type=FOLDER, default="checkpoints/testbed", show_default=True, help="The testbed to check.")
@click.option("--out", type=FOLDER, default="runs/testbed-check", show_default=True, help="Where the evidence goes.")
def check(seeds: int, folder: Path, out: Path) -> None:
    """Check what the testbed promises.

    Generates with base and twin, and exits 3 where memorization, its absence or caption agreement falls short.
    """
    from editor.testbed.check import check_testbed

    if not check_testbed(folder, seeds, out):
        sys.exit(REFUSED)


def _release(folder: Path) -> None:
    from editor.release.folder import build_release, told_paths

    click.echo(f"  release                 {build_release(folder)}")
    if keys := told_paths(folder):
        click.echo(f"  it holds the recipe word for word, absolute paths included: {', '.join(keys)}")


def _show(folder: Path) -> None:
    from rich.console import Console

    from editor.terminal import show_run

    if not show_run(folder, Console()):
        sys.exit(REFUSED)
