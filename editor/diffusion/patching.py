"""Editing a loaded model for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from editor.diffusion.sites import Site


@contextmanager
def zeroed(denoiser: nn.Module, sites: Sequence[Site], masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block, the masked weights of the sites are zero; afterwards they have their old bits again.

    Args:
        denoiser: changed in place.
        sites: those of the denoiser.
        masks: name of a site to a boolean mask ``(outputs, neurons)``, on any device; a site left out is not edited.
    """
    saved: list[tuple[Tensor, Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for site in sites:
                if site.name in masks:
                    matrix = site.matrix(denoiser.get_parameter(site.tensor))
                    chosen = masks[site.name].to(matrix.device)
                    saved.append((matrix, chosen, matrix[chosen]))
                    matrix.masked_fill_(chosen, 0.0)
        yield
    finally:
        with torch.no_grad():
            for matrix, chosen, values in reversed(saved):
                matrix[chosen] = values
