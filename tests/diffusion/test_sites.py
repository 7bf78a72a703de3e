"""Sites and hooks on a real UNet; those of other denoisers are in test_architectures.py."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from diffusers import DiTTransformer2DModel, UNet2DConditionModel
from torch import Tensor, nn

from excise.checkpoint import Checkpoint
from excise.diffusion.observe import site_inputs
from excise.diffusion.sites import FAMILIES, find_sites
from excise.errors import ExciseError
from excise.recipe import Collect


@pytest.fixture(scope="module")
def unet(tiny_checkpoint: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny_checkpoint / "unet")


def forward(unet: UNet2DConditionModel) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 24, 16, generator=generator)
    with torch.no_grad():
        output: Tensor = unet(latents, 500, text).sample
    return output


def hooks_of(unet: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) for module in unet.modules())


def test_sites_in_order_of_execution(unet: UNet2DConditionModel, tiny_checkpoint: Path) -> None:
    sites = find_sites(unet)
    seen: list[int] = []
    with site_inputs(unet, sites, lambda index, inputs, _: seen.append(index)):
        forward(unet)
    assert seen == list(range(7))
    weights = unet.state_dict()
    for site in sites:
        assert weights[site.tensor].shape == (site.outputs, site.neurons)
    assert Checkpoint.open(tiny_checkpoint).sites() == sites


def test_families_are_the_settings_of_the_recipe() -> None:
    assert tuple(FAMILIES) == get_args(Collect.model_fields["sites"].annotation)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_hooks_see_is_what_the_layer_gets(unet: UNet2DConditionModel, tiny_checkpoint: Path, family: str) -> None:
    sites = find_sites(unet, family)
    assert len(sites) == 7 and Checkpoint.open(tiny_checkpoint).sites(family) == sites
    seen: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}
    removers = [
        unet.get_submodule(site.name).register_forward_hook(
            lambda module, inputs, output, i=i: outputs.update({i: output})
        )
        for i, site in enumerate(sites)
    ]
    with site_inputs(unet, sites, lambda index, inputs, _: seen.update({index: inputs})):
        forward(unet)
    for remover in removers:
        remover.remove()
    for i, site in enumerate(sites):
        assert seen[i].shape[0] == 2 and seen[i].shape[2] == site.neurons
        torch.testing.assert_close(unet.get_submodule(site.name)(seen[i]), outputs[i])


def test_hooks_are_removed_after_an_error(unet: UNet2DConditionModel) -> None:
    def fail(index: int, inputs: Tensor, number: int) -> None:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"), site_inputs(unet, find_sites(unet), fail):
        assert hooks_of(unet) == 7 + 1  # the denoiser itself is counted through
        forward(unet)
    assert hooks_of(unet) == 0
    forward(unet)


def test_unknown_architectures_are_refused() -> None:
    other = DiTTransformer2DModel(num_attention_heads=1, attention_head_dim=8, num_layers=1, sample_size=4)
    with pytest.raises(ExciseError, match=r"DiTTransformer2DModel is not supported; supported: .*UNet2DConditionModel"):
        find_sites(other)


def test_a_unet_without_ffns_is_refused() -> None:
    bare = UNet2DConditionModel(
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        mid_block_type=None,
        norm_num_groups=4,
        cross_attention_dim=8,
    )
    with pytest.raises(ExciseError, match="none at all"):
        find_sites(bare)


def test_a_layer_that_is_not_there_is_refused(tiny_checkpoint: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(tiny_checkpoint / "unet")
    unet.mid_block.attentions[0].transformer_blocks[0].attn2 = None
    with pytest.raises(ExciseError, match=r"collect\.sites: .* has no layer mid_block.*attn2\.to_v"):
        find_sites(unet, "cross_value")


def test_layers_that_are_not_plain_linear_are_refused(tiny_checkpoint: Path) -> None:
    class Adapted(nn.Linear):
        pass

    unet = UNet2DConditionModel.from_pretrained(tiny_checkpoint / "unet")
    unet.mid_block.attentions[0].transformer_blocks[0].ff.net[2] = Adapted(128, 32)
    with pytest.raises(ExciseError, match=r"mid_block.*net\.2 is a Adapted; only plain linear layers"):
        find_sites(unet)
