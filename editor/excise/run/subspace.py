"""The located subspace: a mask for every site, packed, and in numbers what was located and how far it is shared.

The masks' file holds for each site a uint8 tensor ``mask/{site}`` of shape ``(outputs, ceil(neurons / 8))``: the
boolean mask of its weight, packed along the neurons as `numpy.packbits` does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from excise.diffusion.sites import Site
from excise.files.writing import write_tensors
from excise.run.layout import Run


def pack(mask: Tensor) -> Tensor:
    """Boolean ``(outputs, neurons)`` to uint8 ``(outputs, ceil(neurons / 8))``."""
    return torch.from_numpy(np.packbits(mask.numpy(), axis=1))


def write_masks(run: Run, masks: Mapping[Site, Tensor]) -> None:
    """Write the mask, boolean ``(outputs, neurons)``, of every site."""
    write_tensors(run.subspace, {f"mask/{site.name}": pack(mask) for site, mask in masks.items()})


def read_masks(run: Run, sites: tuple[Site, ...]) -> dict[str, Tensor]:
    """Name of each site to its boolean mask ``(outputs, neurons)``, in the order of ``sites``."""
    packed = load_file(run.subspace)
    unpacked = {site: np.unpackbits(packed[f"mask/{site.name}"].numpy(), axis=1, count=site.neurons) for site in sites}
    return {site.name: torch.from_numpy(bits).bool() for site, bits in unpacked.items()}
