"""Commands that find what is memorized: scan, init, explain, audit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from excise.cli.common import CHECKPOINT, FILE, FOLDER, json_option, print_json, speaker

POSITIVE = click.IntRange(min=1)
RATE = click.FloatRange(0, 1, min_open=True, max_open=True)
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
DTYPE = click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto", show_default=True
)

NEVER_SEEN = click.option(
    "--never-seen",
    type=FILE,
    help="Table of prompts and images in no training set, like memorized ones: a search is judged beside them.",
)


@click.command()
@click.argument("checkpoint", type=CHECKPOINT)
@click.argument("captions", type=CHECKPOINT)
@click.option("--out", type=FOLDER, help="Folder of the scan.  [default: scans/NAME, the checkpoint's name]")
@click.option("--column", help="Name of the column of captions, where it is not recognised.")
@click.option("--ordinary", type=CHECKPOINT, help="Table of ordinary captions.  [default: those that come with excise]")
@NEVER_SEEN
@click.option("--calibrate", type=POSITIVE, default=2000, show_default=True, help="How many of those that come along.")
@click.option(
    "--score",
    "scores",
    multiple=True,
    type=click.Choice(["detail", "magnitude", "curvature", "one_step"]),
    help="May be repeated; the first decides.  [default: all but curvature, those the model has]",
)
@click.option("--steps", type=POSITIVE, help="Inference steps.  [default: the pipeline's]")
@click.option("--guidance", type=float, help="Scale of guidance.  [default: the pipeline's]")
@click.option("--size", type=POSITIVE, help="Pixels a side.  [default: the checkpoint's]")
@click.option("--batch", type=POSITIVE, default=16, show_default=True, help="Latents denoised together at most.")
@click.option("--seeds", type=POSITIVE, default=4, show_default=True, help="Latents that each caption is tried from.")
@click.option("--calls", type=POSITIVE, default=1, show_default=True, help="Denoiser calls looked at, from the first.")
@click.option("--rate", type=RATE, default=0.05, show_default=True, help="False discoveries among those called.")
@click.option("--drawn", type=POSITIVE, default=32, show_default=True, help="Captions of the highest scores drawn.")
@click.option("--images", type=click.IntRange(min=2), default=8, show_default=True, help="Pictures of each.")
@click.option("--threshold", type=float, default=0.15, show_default=True, help="Tiled l2 at which two are one picture.")
@click.option("--ssim", type=float, help="Structural similarity that two must have too.")
@DEVICE
@DTYPE
@click.option("--fresh", is_flag=True, help="Compute everything anew; by default what is done is kept.")
@json_option
def scan(checkpoint: Path, captions: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Find which of CAPTIONS the model in CHECKPOINT has memorized.

    Scores every caption by what it adds to the first denoiser calls, holds it against ordinary captions, draws the
    highest, and leaves tables and a recipe that `excise run` takes as it is. CAPTIONS is a txt, csv, jsonl or parquet
    file of any length, local or hf://datasets/ORG/NAME/FILE. A scan that was stopped is gone on with by the same
    command.
    """
    from excise.job.scan import scan as run_scan
    from excise.job.scan_request import ScanRequest

    settings = {key: options.pop(key) for key in ("rate", "drawn", "images", "threshold", "ssim")}
    model = {key: options.pop(key) for key in ("device", "dtype")}
    folder = out or Path("scans") / default_name(checkpoint)
    run_scan(ScanRequest(checkpoint, captions, folder, settings=settings, model=model, **options), speaker(as_json))
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        from excise.detect.record import read_record

        record = read_record(folder / "scan.json")
        print_json(record.model_dump() if record else {})
        return
    from rich.console import Console

    from excise.report.scanned import show_scan

    show_scan(folder, Console())


@click.command()
@click.argument("checkpoint", type=CHECKPOINT)
@click.option("--memorized", type=FILE, help="Table of memorized prompts.  [default: one that you write]")
@NEVER_SEEN
@click.option("--out", type=FOLDER, help="Folder of recipe and tables.  [default: the checkpoint's name]")
def init(checkpoint: Path, memorized: Path | None, never_seen: Path | None, out: Path | None) -> None:
    """Write a recipe for CHECKPOINT, with ordinary captions, and without scanning.

    Size, steps and guidance are the checkpoint's own; the edit is what deletes most on excise's own testbed, as far as
    the checkpoint's architecture and size allow.
    """
    from excise.job.init import write_first_recipe

    for line in write_first_recipe(checkpoint, out or Path(default_name(checkpoint)), memorized, never_seen):
        click.echo(line)


def default_name(checkpoint: Path) -> str:
    """Name of a folder for what is made of a checkpoint."""
    return checkpoint.name.partition("@")[0].removesuffix(".safetensors") or "checkpoint"


@click.command()
@click.argument("checkpoint", type=CHECKPOINT)
@click.argument("prompt")
@click.option("--seeds", type=POSITIVE, default=8, show_default=True, help="Latents, those of a scan.")
@click.option("--call", type=click.IntRange(min=0), default=0, show_default=True, help="Denoiser call, from 0.")
@click.option("--steps", type=POSITIVE, help="Inference steps.  [default: the pipeline's]")
@click.option("--guidance", type=float, help="Scale of guidance.  [default: the pipeline's]")
@click.option("--size", type=POSITIVE, help="Pixels a side.  [default: the checkpoint's]")
@click.option("--batch", type=POSITIVE, default=4, show_default=True, help="Latents taken together at most.")
@click.option("--png", type=FILE, help="Draw the tokens into this file.")
@click.option(
    "--run", type=FOLDER, help="A run that edited CHECKPOINT: say which layers its edit takes the prompt from."
)
@DEVICE
@DTYPE
@json_option
def explain(
    checkpoint: Path,
    prompt: str,
    seeds: int,
    call: int,
    png: Path | None,
    run: Path | None,
    device: str,
    dtype: str,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Say which tokens of PROMPT pull the model in CHECKPOINT.

    The length of the gradient of what the text adds to a denoiser call, with respect to what each token becomes in the
    text encoder; mean and spread over latents. With --run also what that run's edit takes of each layer's output.
    """
    from excise.job.explain import explain_prompt

    if png is not None:
        from excise.report.explained import check_picture

        check_picture(png)
    found = explain_prompt(checkpoint, prompt, seeds, call, sampling, {"device": device, "dtype": dtype}, run)
    if png is not None:
        from excise.report.explained import draw_explanation

        draw_explanation(png, found)
    if as_json:
        print_json(found.document())
        return
    from rich.console import Console

    from excise.report.explained import show_explanation

    show_explanation(found, Console())
    if png is not None:
        click.echo(f"  picture                 {png}")


@click.command()
@click.argument("checkpoint", type=CHECKPOINT)
@click.argument("images", type=CHECKPOINT)
@click.option(
    "--reference", type=CHECKPOINT, help="Images of the same kind, never trained on; inversion can do without."
)
@click.option(
    "--by",
    type=click.Choice(["familiarity", "loss", "magnitude", "inversion"]),
    default="familiarity",
    show_default=True,
)
@click.option("--samples", type=POSITIVE, default=16, show_default=True, help="Noised latents of each image.")
@click.option("--rate", type=RATE, default=0.05, show_default=True, help="False discoveries among those called.")
@click.option("--size", type=POSITIVE, help="Pixels a side.  [default: the checkpoint's]")
@click.option("--batch", type=POSITIVE, default=16, show_default=True, help="Latents taken together at most.")
@click.option("--out", type=FOLDER, help="Folder of what is left.  [default: none; of inversion audits/NAME]")
@click.option("--schedule", type=click.Choice(["fast", "published"]), help="Of inversion.  [default: published]")
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    help="Of inversion (the schedule's), or of fitting what the model is told (20 for folders, else 0).",
)
@click.option("--tokens", type=int, help="Tokens of the prompt it searches.  [default: the schedule's]")
@click.option("--draws", type=int, help="Pictures that must all replicate.  [default: the schedule's]")
@click.option("--drawing", type=int, help="Denoising steps of each.  [default: the schedule's]")
@click.option("--guidance", type=float, multiple=True, help="Scale; may be repeated.  [default: the schedule's]")
@click.option("--threshold", type=float, help="Tiled l2 at which a picture replicates an image.  [default: 0.15]")
@click.option("--ssim", type=float, help="Structural similarity that it must have too.")
@click.option("--fresh", is_flag=True, help="Ask anew; by default what is in the folder is kept, and gone on with.")
@DEVICE
@DTYPE
@json_option
def audit(
    checkpoint: Path,
    images: Path,
    reference: Path | None,
    device: str,
    dtype: str,
    as_json: bool,
    out: Path | None,
    fresh: bool,
    **options: Any,
) -> None:
    """Say which of IMAGES the model in CHECKPOINT was trained on, or has an input that draws them.

    IMAGES and the reference are folders, or tables with columns prompt and image. How much better the model tells each
    image than the same image moved aside (or its loss alone, or its caption's magnitude) is ranked among the
    reference's, which must be like them in all but having been trained on: an exact permutation test, at a false
    discovery rate. Images that cannot be read are named. Images of a folder have no captions: what the model is told is
    then fitted to each in some steps, of the reference as well.

    With --by inversion no caption is needed: a distribution of prompts and noise is learnt for each image until the
    model draws it every time. How far that noise is from the usual is the score. An audit with --out, or by inversion,
    that was stopped is gone on with by the same command.
    """
    from excise.job.audit import audit as run_audit
    from excise.job.inversion import audit_settings

    settings = audit_settings(options, {"device": device, "dtype": dtype})
    if settings.by == "inversion":
        out = out or Path("audits") / default_name(checkpoint)
    found = run_audit(checkpoint, images, reference, settings, speaker(as_json), out, fresh)
    if as_json:
        print_json(found.document())
        return
    from rich.console import Console

    from excise.report.audited import LEFT, show_audit

    show_audit(found.document(), Console())
    for line in found.said():
        click.echo(f"  {line}")
    for file in () if out is None else (out / name for name in LEFT):
        if file.exists():
            click.echo(f"  {file.name:24}{file}")
