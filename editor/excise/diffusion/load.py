"""Loading a pipeline from a local folder: safetensors only, no code, nothing from elsewhere; devices and dtypes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers import DiffusionPipeline
from safetensors import SafetensorError
from torch import nn

from excise.errors import ExciseError

DENOISERS = ("unet", "transformer")
"""Names that a pipeline's denoiser may have among its components."""
LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that are never loaded."""


def quiet_libraries() -> None:
    """Keep the libraries' loading bars and hints out of the job's own progress; their errors stay."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def pick_device(name: str) -> torch.device:
    """``auto`` takes a GPU where there is one; of several processes on a machine, each takes its own.

    Raises:
        ExciseError: ``cuda`` is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ExciseError("model.device: no CUDA device is available; use 'cpu' or 'auto'")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 where the device computes in it; else float32 on a CPU, float16 on a GPU."""
    if name != "auto":
        found: torch.dtype = getattr(torch, name)
        return found
    if device.type == "cpu":
        return torch.bfloat16 if cpu_has_bfloat16() else torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def cpu_has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16, without which it is slower in it than in float32.

    Where torch is too old to say, it is taken to have none.
    """
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def load_pipeline(
    folder: Path,
    index: Mapping[str, Any],
    variant: str | None,
    dtype: torch.dtype,
    device: torch.device,
    offload: bool = False,
) -> DiffusionPipeline:
    """The pipeline of a checked folder on ``device``, frozen, without safety checker and progress bar.

    Call `excise.checkpoint.Checkpoint.load` instead.

    Args:
        folder: in diffusers layout.
        index: its ``model_index.json``.
        variant: precision variant of the weights; None loads the plain ones.
        dtype: of the forward pass.
        device: where the pipeline goes.
        offload: keep on the device only the component at work.

    Raises:
        ExciseError: diffusers cannot read the files.
    """
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    absent: dict[str, Any] = {name: None for name in LEFT_OUT if name in index}
    if "requires_safety_checker" in index:
        absent["requires_safety_checker"] = False
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            folder,
            dtype=dtype,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            **absent,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ExciseError(f"{folder}: diffusers cannot load this checkpoint: {error}") from error
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    if offload and device.type != "cpu":
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    return pipeline.to(device)


def load_scheduler(folder: Path, index: Mapping[str, Any]) -> Any:
    """The scheduler of a checked folder alone, from its configuration.

    Raises:
        ExciseError: a class that diffusers does not have, or a configuration that it cannot read.
    """
    name = str(index["scheduler"][1])
    kind = getattr(diffusers, name, None)
    if kind is None or not hasattr(kind, "set_timesteps"):
        raise ExciseError(f"{folder}: scheduler: diffusers has no scheduler {name}; use a checkpoint of stock classes")
    try:
        return kind.from_pretrained(folder / "scheduler", local_files_only=True)
    except Exception as error:  # a scheduler's constructor may raise anything at values that it does not expect
        raise ExciseError(
            f"{folder / 'scheduler'}: describes no {name} ({type(error).__name__}: {error}); fetch it again"
        ) from error


def execution_device(pipeline: DiffusionPipeline) -> torch.device:
    """Where the denoiser computes: under offloading that is not where its weights rest."""
    device: torch.device = pipeline._execution_device
    return device


def denoiser(pipeline: DiffusionPipeline) -> nn.Module:
    """The network that is called at each step."""
    for name in DENOISERS:
        if name in pipeline.components:
            network: nn.Module = pipeline.components[name]
            return network
    raise ExciseError(f"{type(pipeline).__name__}: no denoiser; one of {', '.join(DENOISERS)} is needed")
