"""What the commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

REFUSED = 3
"""Exit code where the verdict refuses the edit."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
CHECKPOINT = click.Path(path_type=Path)
"""A folder in diffusers layout, or a single file."""
AS_JSON = "excise.json"
"""In a context's ``meta``: whether the command was asked for JSON."""


def _asked(context: click.Context, _: click.Parameter, value: bool) -> bool:
    context.meta[AS_JSON] = value
    return value


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_asked, help="Print one JSON document; progress goes to standard error."
)


def print_json(document: Any) -> None:
    """Print the one document of a command that was asked for JSON."""
    click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def speaker(to_stderr: bool = False) -> Callable[[str], None]:
    """Says the steps of a job on standard output or error; with the time before each where no terminal shows them."""
    from excise.job.progress import stamp

    seen = (sys.stderr if to_stderr else sys.stdout).isatty()
    return lambda line: click.echo(line if seen else f"{stamp()}{line}", err=to_stderr)


def print_run(folder: Path, as_json: bool = False, release: bool = False) -> None:
    """Print what a finished run found, and leave with `REFUSED` where the verdict refuses.

    Args:
        folder: of the run.
        as_json: whether as one document.
        release: whether to make the release of what is accepted, and say where it is.
    """
    from rich.console import Console

    from excise.report.terminal import read_finished, show_run
    from excise.run.layout import Run

    run = Run(folder)
    accepted = read_finished(run).accepted
    if not as_json:
        show_run(run, Console())
    if accepted and release:
        make_release(folder, quiet=as_json)
    if as_json:
        from excise.report.machine import run_document

        print_json(run_document(run, accepted and release))
    if not accepted:
        sys.exit(REFUSED)


def make_release(folder: Path, quiet: bool = False) -> None:
    """Make the release folder of a run, and say where it is and what it tells of this machine."""
    from excise.release.folder import build_release, published_paths
    from excise.run.layout import Run

    made = build_release(Run(folder))
    click.echo(f"  release                 {made}", err=quiet)
    if keys := published_paths(Run(folder)):
        click.echo(f"  it holds the recipe word for word, absolute paths included: {', '.join(keys)}", err=quiet)
