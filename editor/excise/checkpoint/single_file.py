"""Single-file checkpoints in the layout of the original Stable Diffusion: into a diffusers folder, by diffusers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import diffusers
from diffusers.loaders.single_file_utils import fetch_diffusers_config
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors import SafetensorError

from excise.checkpoint.folder import INDEX, read_index
from excise.checkpoint.tensorfile import DTYPES, read_header
from excise.diffusion.load import LEFT_OUT
from excise.errors import ExciseError
from excise.files.writing import put_folder, unfinished_folder


def usual_configuration(path: Path) -> str:
    """Repository whose configuration diffusers takes a single-file checkpoint to have, by the names of its tensors.

    Raises:
        ExciseError: the file is not safetensors.
    """
    return str(fetch_diffusers_config(read_header(path))["pretrained_model_name_or_path"])  # it looks at shapes alone


def convert(path: Path, configuration: Path, target: Path) -> None:
    """Write the diffusers folder ``target`` of a single-file checkpoint, in the precision that most of it is stored in.

    Args:
        path: the checkpoint, safetensors.
        configuration: folder with ``model_index.json``, tokenizers and each component's configuration; no weights.
        target: appears whole or not at all.

    Raises:
        ExciseError: the file is not safetensors, or is not of the architecture that the configuration describes.
    """
    stored = Counter(entry.dtype for entry in read_header(path).values() if entry.dtype in DTYPES)
    index = read_index(configuration)
    name = index["_class_name"]
    kind = getattr(diffusers, name, None)
    if kind is None or not hasattr(kind, "from_single_file"):
        raise ExciseError(f"{configuration / INDEX}: diffusers converts no single file into a {name}")
    if not stored:
        raise ExciseError(f"{path}: no tensor of {', '.join(DTYPES)}; save it in one of these")
    absent = {part: None for part in LEFT_OUT if part in index}
    try:
        pipeline: DiffusionPipeline = kind.from_single_file(
            str(path),
            config=str(configuration),
            dtype=DTYPES[stored.most_common(1)[0][0]],
            local_files_only=True,
            **absent,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ExciseError(
            f"{path}: diffusers cannot convert this file with the configuration {configuration}: {error}"
        ) from error
    unfinished = unfinished_folder(target)
    pipeline.save_pretrained(unfinished)
    put_folder(unfinished, target)
