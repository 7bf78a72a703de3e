"""Copy-detection similarity by an SSCD model the user brings (Pizzi et al. 2022, arXiv 2202.10261)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from excise.errors import ExciseError

SIDE = 288
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BATCH = 32
_CURE = "validate.sscd takes a released SSCD model"


def load_sscd(path: Path, device: torch.device) -> nn.Module:
    """An SSCD model from its TorchScript file, in evaluation mode.

    Raises:
        ExciseError: no such file, not TorchScript, or a program that makes no descriptors of images.
    """
    if not path.is_file():
        raise ExciseError(f"{path}: no such file; validate.sscd names the TorchScript file of an SSCD model")
    try:
        model: nn.Module = torch.jit.load(str(path), map_location=device)
    except RuntimeError as error:
        raise ExciseError(f"{path}: not TorchScript; validate.sscd takes a released *.torchscript.pt") from error
    model.eval()
    try:
        found = embed(model, torch.zeros(2, 3, SIDE, SIDE), device)
    except Exception as error:  # it is somebody's program, and may raise anything
        raise ExciseError(f"{path}: makes no descriptors of images ({_last_line(error)}); {_CURE}") from error
    if found.dim() != 2 or len(found) != 2:
        raise ExciseError(f"{path}: makes {tuple(found.shape)} of two images, and not a descriptor of each; {_CURE}")
    return model


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]


@torch.no_grad()
def embed(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Descriptors of images, each resized to 288x288 and normalised with ImageNet's mean and deviation, as released.

    Args:
        images: float (images, 3, height, width) in [0, 1].

    Returns:
        float32 (images, features) on the CPU, of length 1.
    """
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    found = []
    for batch in images.split(_BATCH):
        resized = interpolate(batch.float().to(device), (SIDE, SIDE), mode="bilinear", antialias=True)
        found.append(model((resized - mean) / std).float().cpu())
    return normalize(torch.cat(found), dim=1)


def similarity(images: Tensor, target: Tensor) -> Tensor:
    """Cosine of descriptors ``(images, features)`` with one ``(features,)``: float32 (images,)."""
    return images @ target
