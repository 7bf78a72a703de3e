"""Commands beside an edit: search (what is known by heart, from nothing), mitigate (what a user gets without one)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from excise.cli.common import CHECKPOINT, FILE, FOLDER, json_option, speaker
from excise.cli.detect import DEVICE, DTYPE, POSITIVE, default_name

OF_WALKS = ("together", "tokens", "steps_of_a_walk", "proposals", "samples", "apart", "seed")
OF_PICTURES = ("images", "threshold", "ssim")


@click.command()
@click.argument("checkpoint", type=CHECKPOINT)
@click.option("--edited", type=CHECKPOINT, help="What CHECKPOINT was edited into: asked as many texts, and compared.")
@click.option("--twin", type=CHECKPOINT, help="A model of the same training that never saw the memorized images.")
@click.option("--out", type=FOLDER, help="Folder of the search.  [default: searches/NAME, the checkpoint's name]")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Of searching CHECKPOINT; drawing comes after, and other models.  [default: 15]",
)
@click.option("--evaluations", type=POSITIVE, help="Texts scored in each model; with --minutes, what comes first.")
@click.option("--known", type=FILE, help="Table of prompts with training images: say which of these were found.")
@click.option("--ordinary", type=FILE, help="Table of ordinary prompts: is the model still of use?")
@click.option("--neighbours", type=FILE, help="Table of prompts like memorized ones, that are not.")
@click.option("--judge", type=FOLDER, help="Folder of a classifier that tells what is drawn from what was asked.")
@click.option("--useful", type=POSITIVE, default=32, show_default=True, help="Prompts of each of these tables.")
@click.option("--steps", type=POSITIVE, help="Inference steps.  [default: the pipeline's]")
@click.option("--guidance", type=float, help="Scale of guidance when drawing.  [default: the pipeline's]")
@click.option("--size", type=POSITIVE, help="Pixels a side.  [default: the checkpoint's]")
@click.option("--batch", type=POSITIVE, default=16, show_default=True, help="Texts taken together at most.")
@click.option("--together", type=POSITIVE, default=8, show_default=True, help="Walks side by side.")
@click.option("--tokens", type=POSITIVE, default=8, show_default=True, help="Tokens of each text.")
@click.option("--steps-of-a-walk", type=POSITIVE, default=24, show_default=True, help="Until another walk begins.")
@click.option("--proposals", type=POSITIVE, default=16, show_default=True, help="Texts tried in each step.")
@click.option("--samples", type=POSITIVE, default=1, show_default=True, help="Draws of noise a text is scored on.")
@click.option(
    "--apart",
    type=click.IntRange(min=0),
    default=256,
    show_default=True,
    help="Earlier finds that walks keep apart from, the last ones; 0 lets each go anywhere.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is random.")
@click.option("--images", type=click.IntRange(min=2), default=4, show_default=True, help="Pictures of each find.")
@click.option("--threshold", type=float, default=0.15, show_default=True, help="Tiled l2 at which two are one picture.")
@click.option("--ssim", type=float, help="Structural similarity that two must have too.")
@DEVICE
@DTYPE
@click.option("--fresh", is_flag=True, help="Search anew; by default what is done is kept.")
@json_option
def search(checkpoint: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Search for prompts that the model in CHECKPOINT knows a picture by heart for, from nothing.

    Walks among texts of random tokens by Gibbs sampling towards those that move the first denoiser call most, draws
    what each walk came to at several seeds, and keeps what is one picture at most of them. A search that was stopped
    is gone on with by the same command; a longer one goes on with a shorter one.
    """
    from excise.job.search import search as run_search
    from excise.job.search_request import SearchRequest

    walks = {key.removesuffix("_of_a_walk"): options.pop(key) for key in OF_WALKS}
    settings = {key: options.pop(key) for key in OF_PICTURES}
    model = {key: options.pop(key) for key in ("device", "dtype")}
    folder = out or Path("searches") / default_name(checkpoint)
    record = run_search(
        SearchRequest(checkpoint, folder, walks=walks, settings=settings, model=model, **options), speaker(as_json)
    )
    if as_json:
        click.echo(record.model_dump_json(indent=1))
        return
    from rich.console import Console

    from excise.report.triggers import show_search

    show_search(folder, record, Console())


@click.command()
@click.argument("checkpoint", type=CHECKPOINT)
@click.option("--prompts", required=True, type=FILE, help="Table of memorized prompts with their training images.")
@click.option("--ordinary", required=True, type=FILE, help="Table of ordinary prompts: of what use, and what is usual.")
@click.option("--edited", type=FOLDER, help="What CHECKPOINT was edited into, drawn plainly beside.")
@click.option("--twin", type=CHECKPOINT, help="A model of the same training that never saw the images, likewise.")
@click.option("--judge", type=FOLDER, help="Folder of a classifier that tells what is drawn from what was asked.")
@click.option("--arm", "arms", multiple=True, type=click.Choice(["embedding", "tokens"]), help="[default: both]")
@click.option("--out", type=FOLDER, help="Folder of what is drawn.  [default: mitigations/NAME, the checkpoint's name]")
@click.option("--images", type=POSITIVE, default=16, show_default=True, help="Prompts of each table.")
@click.option("--seeds", type=POSITIVE, default=2, show_default=True, help="Pictures of a memorized prompt.")
@click.option("--target", type=float, help="Magnitude to come to.  [default: the median of the ordinary prompts]")
@click.option("--iterations", type=POSITIVE, default=10, show_default=True, help="Steps of an embedding, at most.")
@click.option("--rate", type=float, default=0.05, show_default=True, help="Learning rate of these.")
@click.option("--tokens", type=POSITIVE, default=4, show_default=True, help="Random tokens put into a prompt.")
@click.option("--threshold", type=float, default=0.15, show_default=True, help="Tiled l2 of a replication.")
@click.option("--ssim", type=float, help="Structural similarity that it must have too.")
@click.option("--steps", type=POSITIVE, help="Inference steps.  [default: the pipeline's]")
@click.option("--guidance", type=float, help="Scale of guidance.  [default: the pipeline's]")
@click.option("--size", type=POSITIVE, help="Pixels a side.  [default: the checkpoint's]")
@click.option("--batch", type=POSITIVE, default=16, show_default=True, help="Images taken together at most.")
@DEVICE
@DTYPE
@click.option("--fresh", is_flag=True, help="Draw anew; by default what is done is kept.")
@json_option
def mitigate(checkpoint: Path, out: Path | None, arms: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Draw from CHECKPOINT in ways that avoid memorized images without an edit, and say what that costs.

    The embedding of each prompt moved until the text adds no more to the first call than ordinary prompts do (Wen et
    al.), or random tokens put into it; beside the model as it is, and the edited one. What was stopped is gone on with.
    """
    from excise.job.mitigate import mitigate as run_mitigate
    from excise.job.mitigate_request import MitigateRequest

    model = {key: options.pop(key) for key in ("device", "dtype")}
    folder = out or Path("mitigations") / default_name(checkpoint)
    if arms:
        options["arms"] = tuple(dict.fromkeys(arms))
    found = run_mitigate(MitigateRequest(checkpoint, out=folder, model=model, **options), speaker(as_json))
    if as_json:
        click.echo(found.model_dump_json(indent=1))
        return
    from rich.console import Console

    from excise.report.mitigated import show_mitigated

    show_mitigated(folder, found, Console())
