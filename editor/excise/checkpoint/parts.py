"""Whether a checkpoint has the parts that its pipeline needs, and whether another one is made of the same."""

from __future__ import annotations

from pathlib import Path

from excise.checkpoint.checkpoint import Checkpoint
from excise.checkpoint.folder import PICKLES, weights_in
from excise.checkpoint.tensorfile import read_header
from excise.checkpoint.weights import copies_of
from excise.diffusion.pipelines import PIPELINES
from excise.errors import ExciseError


def check_parts(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that lacks a component, or a component's folder, configuration or weights.

    Raises:
        ExciseError: names the file, or the key of the index.
    """
    folder, networks = checkpoint.folder, checkpoint.networks()
    for name in PIPELINES[checkpoint.pipeline_class].needs:
        if name not in networks and not any((folder / name).glob("*")):
            raise ExciseError(f"{folder / name}: is empty or not there; fetch the checkpoint again")
    for name in networks:
        if not checkpoint.configuration(name):
            raise ExciseError(f"{folder / name / 'config.json'}: is empty or not there; fetch the checkpoint again")
        if not weights_in(folder / name):
            pickles = [file for file in checkpoint.left_out() if Path(file).suffix in PICKLES]
            others = ", ".join(file for file in pickles if file.startswith(f"{name}/"))
            raise ExciseError(
                f"{folder / name}: no safetensors file{f', only {others}, which is never opened' if others else ''}; "
                "save this component with safe_serialization=True, or take a revision that has them"
            )
        for files in copies_of(folder / name).values():
            for file in files:
                read_header(file)


def difference(base: Checkpoint, other: Checkpoint) -> str | None:
    """In what another checkpoint is not of the base's architecture, in words; None if it is of the same.

    Looks at the classes of the pipeline and its components, and at every tensor of the denoiser by name and shape.
    """
    if other.pipeline_class != base.pipeline_class:
        return f"its pipeline is a {other.pipeline_class}, the base's a {base.pipeline_class}"
    for name in dict.fromkeys((*base.networks(), *other.networks())):
        mine, others = (checkpoint.index.get(name) for checkpoint in (base, other))
        if mine != others:
            return f"its {name} is {others}, the base's {mine}"
    for name in {**base.shapes, **other.shapes}:
        shapes = [checkpoint.shapes.get(name, "missing") for checkpoint in (base, other)]
        if shapes[0] != shapes[1]:
            return f"its {base.denoiser.name}'s {name} is {shapes[1]}, the base's {shapes[0]}"
    return None
