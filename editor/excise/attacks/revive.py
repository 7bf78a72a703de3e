"""Revival of zeros: from the file alone, put plausible values where zeros are, and replay.

Where an edit leaves zeros, their pattern is a map of what was removed. If a plausible value at each of them brings
images back, the edit hid them and marked the place. A model without zeros is replayed as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.attacks import replay
from excise.attacks.base import Budget, Found, Target, Trigger
from excise.diffusion.denoise import denoise
from excise.diffusion.load import denoiser
from excise.diffusion.observe import site_inputs
from excise.diffusion.patching import Change, patched
from excise.diffusion.sites import Site, all_sites
from excise.mathematics import completion
from excise.prompts.prompt import Prompt
from excise.recipe import Revive, Sampling

WORDS = {
    "rows": "the mean of their row",
    "neighbours": "the nearest values of their row",
    "least_squares": "a fit of low rank",
}
"""What zeros are filled with, by variant, in words."""
Fill = Callable[[Tensor, Tensor], Tensor]
"""Weight and what is known of it, to the filled weight; float32 ``(outputs, neurons)``."""


@dataclass(frozen=True)
class Revived(Trigger):
    """The target's caption, asked of a model whose zeros are filled; ``text`` says so."""


def find(pipeline: DiffusionPipeline, targets: Sequence[Target], budget: Budget) -> Generator[Found, None, None]:
    """Each target's own caption, while the model's zeros are filled.

    What is filled depends on the model, on the section and on the size that is drawn, on no target.
    """
    network = denoiser(pipeline)
    sites = [site for site in all_sites(network) if _gaps(network.get_parameter(site.tensor), site).any()]
    count = sum(int(_gaps(network.get_parameter(site.tensor), site).sum()) for site in sites)
    said = f"{count:,} zeros filled with {WORDS[budget.variant]}" if sites else "no zeros in this model: left as it is"
    triggers = [Revived(target.prompt, f"{target.prompt.text} [{said}]") for target in targets]
    with patched(network, _changes(pipeline, sites, budget)):
        yield from (Found(point, triggers) for point in budget.points)


def draw(pipeline: DiffusionPipeline, pairs: Sequence[tuple[Trigger, int]], sampling: Sampling) -> Tensor:
    """Replay of the targets' captions, on the model as it is now; as `excise.attacks.base.Attack.draw`."""
    plain = [(Trigger(trigger.target, trigger.target.text), seed) for trigger, seed in pairs]
    return replay.draw(pipeline, plain, sampling)


def _gaps(weight: Tensor, site: Site) -> Tensor:
    return site.matrix(weight) == 0.0


def _changes(pipeline: DiffusionPipeline, sites: Sequence[Site], budget: Budget) -> Mapping[str, Change]:
    """What becomes of each site's weight."""
    plain: dict[str, Fill] = {"rows": completion.row_means, "neighbours": completion.neighbours}
    if budget.variant in plain:
        return {site.tensor: partial(_filled, site, plain[budget.variant]) for site in sites}
    settings, changes = cast(Revive, budget.settings), {}
    for site, energy in zip(sites, _energies(pipeline, sites, budget) if sites else (), strict=True):
        rank = max(1, round(settings.rank * min(site.outputs, site.neurons)))
        fill = partial(completion.low_rank, importance=energy.sqrt(), rank=rank, rounds=settings.rounds)
        changes[site.tensor] = partial(_filled, site, fill)
    return changes


def _filled(site: Site, fill: Fill, weight: Tensor) -> Tensor:
    """The layer's weight with the zeros of the site filled, computed in float32."""
    changed = weight.clone(memory_format=torch.contiguous_format)
    part = site.matrix(changed)
    part.copy_(fill(part.float(), ~_gaps(weight, site)))
    return changed


def _energies(pipeline: DiffusionPipeline, sites: Sequence[Site], budget: Budget) -> list[Tensor]:
    """Mean square of each neuron of each site, float32 ``(neurons,)``, while the model draws for the empty prompt: what
    is ordinary to whoever has the file alone."""
    settings, nothing = cast(Revive, budget.settings), Target(Prompt(""))
    sums = [torch.zeros(site.neurons) for site in sites]

    def receive(index: int, inputs: Tensor, _call: int) -> None:
        sums[index] += inputs.float().square().mean(dim=(0, 1)).cpu()

    sampling = Sampling(steps=settings.steps, guidance=1.0, size=budget.sampling.size)
    with site_inputs(denoiser(pipeline), sites, receive):
        for number in range(settings.ordinary):
            denoise(pipeline, [""], [budget.key(nothing) ^ number], sampling, decode=False)
    device = denoiser(pipeline).get_parameter(sites[0].tensor).device
    return [total.to(device) for total in sums]
