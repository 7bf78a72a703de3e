"""Which layers carry a prompt, as far as an edit tells: what it takes of their outputs, with the text and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from excise.diffusion.guided import GuidedCall
from excise.diffusion.observe import site_inputs
from excise.diffusion.sites import Site


@dataclass(frozen=True)
class Layer:
    """A site that an edit changes."""

    site: str
    share: float
    """``|Dx|² / |Wx|²`` over all tokens of the conditional rows, D what the edit takes off the weight W: mean over the
    seeds. Over 1 where what is taken and what stays cancel each other."""
    without: float
    """The same of the rows without the text: what the edit takes of any prompt."""
    spread: float
    """Standard deviation of ``share`` over the seeds; 0 of one."""


def shares(call: GuidedCall, taken: Mapping[Site, Tensor]) -> Tensor:
    """What an edit takes of each site's output at a call.

    Args:
        call: the call.
        taken: by site what the edit takes off its weight, ``(outputs, neurons)``.

    Returns:
        float64 ``(rows, sites, 2)``: with the text, and without it; 0 where a site puts out nothing.
    """
    sites, rows = list(taken), len(call.latents)
    if not sites:
        return torch.zeros(rows, 0, 2, dtype=torch.float64)
    energy = torch.zeros(2, 2 * rows, len(sites), dtype=torch.float64)  # taken and whole, of unconditional rows first

    def receive(index: int, inputs: Tensor, _pass: int) -> None:
        site = sites[index]
        weight = site.matrix(call.network.get_parameter(site.tensor)).float()
        for place, matrix in enumerate((taken[site].to(weight), weight)):
            energy[place, :, index] += (inputs.float() @ matrix.T).square().sum(dim=(1, 2)).double().cpu()

    with torch.no_grad(), site_inputs(call.network, sites, receive):
        call.difference()
    gone, whole = energy
    found = torch.where(whole > 0, gone / whole.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return torch.stack([found[rows:], found[:rows]], dim=2)


def layers(sites: Sequence[Site], found: Tensor) -> tuple[Layer, ...]:
    """Shares ``(seeds, sites, 2)`` by site, the highest with the text first."""
    made = []
    for site, values in zip(sites, found.unbind(1), strict=True):
        spread = float(values[:, 0].std()) if len(values) > 1 else 0.0
        made.append(Layer(site.name, float(values[:, 0].mean()), float(values[:, 1].mean()), spread))
    return tuple(sorted(made, key=lambda layer: -layer.share))
