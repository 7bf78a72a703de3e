"""Commands on the embedded model."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from excise.cli.common import FILE, FOLDER, REFUSED


@click.group()
def testbed() -> None:
    """Train or check the embedded model."""


@testbed.command("train")
@click.argument("recipe", type=FILE)
@click.option("--out", type=FOLDER, default="runs/testbed-trained", show_default=True, help="Folder of the testbed.")
def train(recipe: Path, out: Path) -> None:
    """Train base and twin from RECIPE.

    Hours on a CPU, minutes on a GPU; a training that was stopped or killed is resumed by the same command.
    """
    import logging

    from excise.testbed.train import train_testbed

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train_testbed(recipe, out)


@testbed.command("icons")
@click.argument("nouns", type=FILE)
@click.argument("font", type=FILE)
@click.option("--out", type=FOLDER, required=True, help="Folder of the pictures and their table.")
def icons(nouns: Path, font: Path, out: Path) -> None:
    """Draw the icons of NOUNS (CSV: noun, character) from an emoji FONT of bitmaps, for another testbed."""
    from excise.testbed.world.icons import draw_icons

    click.echo(f"{draw_icons(nouns, font, out)} icons in {out}")


@testbed.command("check")
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True, help="Images per prompt.")
@click.option("--folder", type=FOLDER, default="checkpoints/testbed", show_default=True, help="The testbed to check.")
@click.option("--out", type=FOLDER, default="runs/testbed-check", show_default=True, help="Where the evidence goes.")
def check(seeds: int, folder: Path, out: Path) -> None:
    """Check what the testbed promises.

    Generates with base and twin, and exits 3 where memorization, its absence or caption agreement falls short.
    """
    from excise.testbed.check import check_testbed

    if not check_testbed(folder, seeds, out):
        sys.exit(REFUSED)


@testbed.command("explain")
@click.option("--seeds", type=click.IntRange(min=1), default=4, show_default=True, help="Latents of each caption.")
@click.option("--captions", type=click.IntRange(min=1), help="The first so many.  [default: all]")
@click.option("--folder", type=FOLDER, default="checkpoints/testbed", show_default=True, help="The testbed.")
@click.option("--out", type=FOLDER, default="runs/testbed-explain", show_default=True, help="Where the evidence goes.")
def explain(seeds: int, captions: int | None, folder: Path, out: Path) -> None:
    """Say how often the words that pull most are the invented names.

    Of memorized captions, on base and twin, with what chance alone would give beside it.
    """
    from excise.testbed.names import explain_testbed

    explain_testbed(folder, seeds, captions, out)


@testbed.command("detect")
@click.option("--model", "models", multiple=True, type=click.Choice(["base", "twin"]), help="[default: both]")
@click.option("--seeds", type=click.IntRange(min=1), default=4, show_default=True, help="Latents of each caption.")
@click.option(
    "--calls",
    multiple=True,
    type=click.IntRange(min=1),
    default=(1, 5),
    show_default=True,
    help="Calls that detail and magnitude are the mean over; may be repeated.",
)
@click.option("--curvature/--no-curvature", default=True, show_default=True, help="It costs as much as four calls.")
@click.option("--captions", type=click.IntRange(min=2), help="The first so many of each table.  [default: all]")
@click.option("--threshold", type=float, default=0.356, show_default=True, help="Tiled l2 of a replication.")
@click.option("--ssim", type=float, default=0.365, show_default=True, help="Structural similarity of one.")
@click.option("--folder", type=FOLDER, default="checkpoints/testbed", show_default=True, help="The testbed.")
@click.option("--out", type=FOLDER, default="runs/testbed-detect", show_default=True, help="Where the evidence goes.")
def detect(
    models: tuple[str, ...],
    seeds: int,
    calls: tuple[int, ...],
    curvature: bool,
    captions: int | None,
    threshold: float,
    ssim: float,
    folder: Path,
    out: Path,
) -> None:
    """Say how far the scores of a scan tell memorized captions from others.

    From neighbours and never-seen captions, with and without those that turn out to bring a planted picture back, and
    from ordinary ones: area under the ROC curve, and what is found at 1 % false positives.
    """
    from excise.measures.replication import Rule
    from excise.testbed.calibration import TILES
    from excise.testbed.detection import detect_testbed

    rule = Rule(threshold, ssim, TILES)
    detect_testbed(folder, models or ("base", "twin"), out, seeds, calls, curvature, rule, captions)
