"""What may change of each architecture: sites' weights, or whole tensors, by name."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from excise.diffusion.scopes import SCOPES, editable
from excise.diffusion.sites import FAMILIES, find_sites
from excise.errors import ExciseError
from excise.recipe import ScopedEdit
from tests.diffusion.architectures import TINY, build

LACKS = {"CogView4Transformer2DModel"}
"""Architectures without layers that only turn the text into keys and values."""


def network(name: str) -> nn.Module:
    with torch.device("meta"):
        return build(name)


@pytest.mark.parametrize("name", TINY)
def test_scopes_hold_one_another_and_the_families(name: str) -> None:
    denoiser = network(name)
    found = {scope: editable(denoiser, scope) for scope in SCOPES if scope != "cross_attention" or name not in LACKS}
    assert found["all"] == {key: value.numel() for key, value in denoiser.named_parameters()}
    assert found["ffns"].items() < found["blocks"].items() < found["all"].items()
    assert any(key.endswith(".bias") for key in found["ffns"])
    weights = {site.tensor for site in (*find_sites(denoiser, "ffn"), *find_sites(denoiser, "ffn_first"))}
    assert {key for key in found["ffns"] if key.endswith(".weight")} == weights
    for site in find_sites(denoiser):
        assert editable(denoiser, "ffn")[site.tensor] == site.outputs * site.neurons <= found["ffns"][site.tensor]
    if name not in LACKS:
        keys = {site.tensor for family in ("cross_value", "cross_key") for site in find_sites(denoiser, family)}
        assert keys <= found["cross_attention"].keys() < found["blocks"].keys()


def test_a_scope_that_an_architecture_lacks_is_refused() -> None:
    with pytest.raises(ExciseError, match="a CogView4Transformer2DModel has nothing of the scope 'cross_attention'"):
        editable(network("CogView4Transformer2DModel"), "cross_attention")


def test_no_name_means_two_things_and_recipes_know_each() -> None:
    assert not set(FAMILIES) & set(SCOPES)
    assert set(get_args(ScopedEdit.model_fields["scope"].annotation)) == set(SCOPES)


def test_several_together_let_change_what_any_of_them_does() -> None:
    denoiser = network("UNet2DConditionModel")
    found = editable(denoiser, "ffn+cross_attention")
    assert found.items() == (editable(denoiser, "ffn") | editable(denoiser, "cross_attention")).items()
    assert [name for name, _ in denoiser.named_parameters() if name in found] == list(found)
    assert editable(denoiser, "ffn+all") == editable(denoiser, "all")
