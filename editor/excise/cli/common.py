"""What the commands share."""

from __future__ import annotations

import sys
from pathlib import Path

import click

REFUSED = 3
"""Exit code where the verdict refuses the edit."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
CHECKPOINT = click.Path(path_type=Path)
"""A folder in diffusers layout, or a single file."""


def print_run(folder: Path) -> None:
    """Print what a finished run found, and leave with `REFUSED` where the verdict refuses."""
    from rich.console import Console

    from excise.report.terminal import show_run
    from excise.run.layout import Run

    if not show_run(Run(folder), Console()):
        sys.exit(REFUSED)


def make_release(folder: Path) -> None:
    """Make the release folder of a run, and say where it is and what it tells of this machine."""
    from excise.release.folder import build_release, published_paths
    from excise.run.layout import Run

    click.echo(f"  release                 {build_release(Run(folder))}")
    if keys := published_paths(Run(folder)):
        click.echo(f"  it holds the recipe word for word, absolute paths included: {', '.join(keys)}")
