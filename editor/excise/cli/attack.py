"""The command that attacks a checkpoint edited by whatever tool: attack."""

from __future__ import annotations

import os
from pathlib import Path

import click

from excise.cli.common import FILE, FOLDER, json_option, print_json, speaker
from excise.recipe.suite import EVERY, suite_folder


@click.command()
@click.argument("checkpoint", type=FOLDER)
@click.option("--prompts", required=True, type=FILE, help="Table of prompts and the images that should not come back.")
@click.option("--twin", type=FOLDER, help="A model of the same training that never saw the images.")
@click.option("--never-seen", type=FILE, help="Table of prompts and images that are in no training set.")
@click.option(
    "--base", type=FOLDER, help="What CHECKPOINT was edited from: shows whether the attacks are strong enough."
)
@click.option("--recipe", type=FILE, help="Read [sampling], [attack], [validate], [verdict] and how to load from it.")
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    type=click.Choice(EVERY[1:]),
    help="Make this attack beside replay; may be given again.  [default: the recipe's, without one all]",
)
@click.option("--images", type=click.IntRange(min=1), help="Images of each set that are searched for.  [default: all]")
@click.option("--out", type=FOLDER, help="Folder of what is found.  [default: runs/attack-NAME, the checkpoint's name]")
@click.option("--fresh", is_flag=True, help="Draw everything again; by default what is done and still valid is kept.")
@json_option
def attack(
    checkpoint: Path,
    prompts: Path,
    twin: Path | None,
    never_seen: Path | None,
    base: Path | None,
    recipe: Path | None,
    attacks: tuple[str, ...],
    images: int | None,
    out: Path | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Attack CHECKPOINT, edited by whatever tool, and say which images come back.

    Leaves a row for a table of edits, in JSON, Markdown and as a page. A twin or never-seen images tell what was kept
    from what a search makes any model draw; without them the row says what it cannot. What was stopped is resumed by
    the same command.
    """
    from excise.attacking import attack_checkpoint

    row = attack_checkpoint(
        checkpoint, prompts, twin, never_seen, base, recipe, attacks, images, out, fresh, speaker(as_json)
    )
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        print_json(row.model_dump(mode="json"))
        return
    from excise.report.searches import fate, worst_said
    from excise.run.layout import Run

    run = Run(out or suite_folder(checkpoint))
    for line in (fate(row), worst_said(row), *row.cannot_say):
        click.echo(line)
    for label, path in (("report", run.row_page), ("summary", run.row_summary), ("row", run.row),
                        ("image by image", run.certificate)):  # fmt: skip
        click.echo(f"  {label:24}{path}")
