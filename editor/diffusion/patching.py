"""Editing a loaded model for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def zeroed(denoiser: nn.Module, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block, the masked weights of the named sites are zero; afterwards they have their old bits again.

    Args:
        denoiser: changed in place.
        masks: name of a site to a boolean mask ``(outputs, neurons)``, on any device.
    """
    saved: list[tuple[nn.Parameter, Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for name, mask in masks.items():
                weight = denoiser.get_parameter(f"{name}.weight")
                chosen = mask.to(weight.device)
                saved.append((weight, chosen, weight[chosen]))
                weight.masked_fill_(chosen, 0.0)
        yield
    finally:
        with torch.no_grad():
            for weight, chosen, values in reversed(saved):
                weight[chosen] = values
