"""Material of random inputs: all that any method may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from excise.diffusion.patching import Change
from excise.diffusion.sites import Site
from excise.edits import Training
from excise.mathematics.second_moment import SecondMoment
from excise.recipe import Section

PLANTED = 2
"""Directions that memorized inputs use a hundred times as much."""


@dataclass
class Gathered:
    """Inputs of every site: ``(tokens, neurons)`` by set. Follows `excise.edits.Material`."""

    settings: Section | None
    sites: tuple[Site, ...]
    masks: dict[str, Tensor] = field(default_factory=dict)
    tokens: int = 400
    training: Training | None = None
    before: Mapping[str, Change] = field(default_factory=dict)

    def inputs(self, site: Site, prompts: str) -> Tensor:
        """Correlated ones; of memorized prompts, much more along `planted`."""
        rng = torch.Generator().manual_seed(site.neurons)
        mixing = torch.randn(site.neurons, site.neurons, generator=rng, dtype=torch.float64) / site.neurons**0.5
        own = torch.Generator().manual_seed(len(prompts))
        drawn = torch.randn(self.tokens, site.neurons, generator=own, dtype=torch.float64) @ mixing
        if prompts != "memorized":
            return drawn
        strength = 10.0 * torch.randn(self.tokens, PLANTED, generator=own, dtype=torch.float64)
        return drawn + strength @ self.planted(site)

    def planted(self, site: Site) -> Tensor:
        """``(PLANTED, neurons)``."""
        rng = torch.Generator().manual_seed(7)
        return torch.randn(PLANTED, site.neurons, generator=rng, dtype=torch.float64)

    def mask(self, site: Site) -> Tensor:
        """As given."""
        return self.masks[site.name]

    def statistic(self, kind: str, prompts: str, site: Site) -> SecondMoment:
        """Second moments of `inputs`."""
        assert kind == "second_moment"
        inputs = self.inputs(site, prompts)
        return SecondMoment(inputs.T @ inputs, torch.tensor(float(self.tokens), dtype=torch.float64))

    def weight(self, site: Site) -> Tensor:
        """A random one, after the edits before."""
        rng = torch.Generator().manual_seed(site.outputs)
        weight = torch.randn(site.outputs, site.neurons, generator=rng)
        return self.before[site.tensor](weight) if site.tensor in self.before else weight
