"""What of a denoiser an edit may change: the weights of a family of sites, or whole tensors of a scope."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from excise.diffusion.sites import ARCHITECTURES, FAMILIES, all_sites, find_sites
from excise.errors import ExciseError

SCOPES: dict[str, Collection[str]] = {
    "all": (),
    "blocks": (),
    "ffns": ("ffn", "ffn_first"),
    "cross_attention": ("cross_value", "cross_key"),
}
"""Scope to the families whose layers it holds, with all of their tensors; ``all`` holds every tensor of the denoiser,
``blocks`` every one of its transformer blocks."""


def editable(denoiser: nn.Module, scope: str) -> dict[str, int]:
    """How many entries may change of each tensor, by its name, in the order in which the network has them.

    Args:
        denoiser: with weights or without.
        scope: one of `FAMILIES`, of which only the sites' part of each weight may change; or one of `SCOPES`, whose
            tensors may change as a whole, biases, norms and embeddings among them; or several of these, joined by
            ``+``: what any of them lets change.

    Raises:
        ExciseError: as `excise.diffusion.sites.find_sites`; a scope of which the architecture has nothing.
    """
    if "+" in scope:
        found = [editable(denoiser, each) for each in scope.split("+")]
        names = [name for name, _ in denoiser.named_parameters() if any(name in each for each in found)]
        return {name: max(each.get(name, 0) for each in found) for name in names}
    if scope in FAMILIES:
        return {site.tensor: site.outputs * site.neurons for site in find_sites(denoiser, scope)}
    inside = _prefixes(denoiser, scope)
    return {name: value.numel() for name, value in denoiser.named_parameters() if name.startswith(inside)}


def _prefixes(denoiser: nn.Module, scope: str) -> tuple[str, ...]:
    """What the names of a scope's tensors begin with."""
    all_sites(denoiser)  # refuses what is not known
    runs = ARCHITECTURES[type(denoiser)]
    if scope == "all":
        return ("",)
    if scope == "blocks":
        return tuple(f"{name}." for blocks in runs for name in blocks.names(denoiser))
    families = [family for family in SCOPES[scope] if any(family in blocks.layers for blocks in runs)]
    if not families:
        raise ExciseError(
            f"edit: scope: a {type(denoiser).__name__} has nothing of the scope {scope!r}; choose another of "
            f"{', '.join(SCOPES)}"
        )
    return tuple(f"{site.name}." for family in families for site in find_sites(denoiser, family))
