"""The command that writes an edited checkpoint as one file: export."""

from __future__ import annotations

from pathlib import Path

import click

from excise.cli.common import FILE, FOLDER


@click.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
@click.option("--single-file", "path", required=True, type=FILE, help="The file to write; ends in .safetensors.")
@click.option("--base", type=FILE, help="The single file the run was made of, if it is not where the recipe says.")
@click.option("--variant", help="Precision variant of the weights, such as fp16.  [default: those that are loaded]")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def export(folder: Path, path: Path, base: Path | None, variant: str | None, overwrite: bool) -> None:
    """Write the edited checkpoint of RUN as one file, as ComfyUI and A1111 read it.

    In the layout of the original Stable Diffusion 1, 2 and XL. Where the base came as one file, it is that file with
    the planned tensors changed; else what diffusers converts into the same weights, bit for bit. RUN may also be a
    checkpoint in diffusers layout, such as a release.
    """
    from excise.api import export_single_file

    done = export_single_file(folder, path, base, variant, overwrite)
    click.echo(f"  single file             {done.path} ({done.tensors:,} tensors, {done.size / 2**20:,.1f} MiB)")
    click.echo(f"  sha256                  {done.sha256}")
    for note in done.notes:
        click.echo(f"  {note}")
