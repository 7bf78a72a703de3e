"""The networks of a pipeline as their configurations describe them, without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from excise.errors import ExciseError

TEXT_MODEL = "text_model."
"""What some versions of transformers put before the names of a text encoder's tensors, and others do not."""


def empty_component(library: str, kind: str, folder: Path) -> nn.Module | None:
    """The network of a component's folder on the meta device; None of what is no network (a tokenizer, a scheduler).

    Args:
        library: ``diffusers`` or ``transformers``, by the checkpoint's index.
        kind: its class there.
        folder: holds its ``config.json``.

    Raises:
        ExciseError: no such class; a configuration that describes no such network.
    """
    found: Any = getattr(diffusers if library == "diffusers" else transformers, kind, None)
    if found is None:
        raise ExciseError(f"{folder}: {library} has no {kind}; correct the checkpoint's model_index.json")
    if nn.Module not in found.mro():
        return None
    try:
        with torch.device("meta"):
            if library == "diffusers":
                network: nn.Module = found.from_config(found.load_config(folder, local_files_only=True))
            else:
                network = found(found.config_class.from_pretrained(folder, local_files_only=True))
    except Exception as error:  # a network's constructor may raise anything at values that it does not expect
        raise ExciseError(
            f"{folder / 'config.json'}: describes no {kind} ({type(error).__name__}: {error}); fetch it again"
        ) from error
    return network


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a network is loaded from."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def loaded_name(name: str, network: nn.Module) -> str:
    """Name that a text encoder of this version of transformers has for a tensor that is stored under ``name``."""
    bare = name.removeprefix(TEXT_MODEL)
    return f"{TEXT_MODEL}{bare}" if hasattr(network, "text_model") and not bare.startswith("text_projection") else bare
