"""Weights of a loaded model changed for a while: in the block as asked, after it bit for bit as before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from excise.diffusion.patching import Change, patched
from excise.diffusion.sites import find_sites
from tests.diffusion.masks import zeroing

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(params=DTYPES, ids=str)
def unet(tiny_checkpoint: Path, request: pytest.FixtureRequest) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny_checkpoint / "unet").to(request.param).eval()


def forward(unet: UNet2DConditionModel) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 24, 16, generator=generator)
    with torch.no_grad():
        output: Tensor = unet(latents.to(unet.dtype), 500, text.to(unet.dtype)).sample
    return output


def bits(network: nn.Module) -> dict[str, bytes]:
    """Every tensor, as bytes: equality of numbers would let a negative zero pass, and no NaN."""
    return {
        name: value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        for name, value in network.state_dict().items()
    }


def test_masks_are_zero_in_the_block_and_the_old_bits_come_back(unet: UNet2DConditionModel) -> None:
    sites = find_sites(unet)[2:4]
    masks = {
        site.name: torch.rand(site.outputs, site.neurons, generator=torch.Generator().manual_seed(i)) < 0.3
        for i, site in enumerate(sites)
    }
    before, plain = bits(unet), forward(unet)
    expected = {site.tensor: unet.get_parameter(site.tensor).masked_fill(masks[site.name], 0.0) for site in sites}
    with patched(unet, zeroing(sites, masks)):
        for site in sites:
            assert torch.equal(unet.get_parameter(site.tensor), expected[site.tensor])
        assert {name for name, value in bits(unet).items() if value != before[name]} == set(expected)
        assert not torch.equal(forward(unet), plain)
    assert bits(unet) == before
    assert torch.equal(forward(unet), plain)


def test_the_old_bits_come_back_after_an_exception_in_the_block(unet: UNet2DConditionModel) -> None:
    before = bits(unet)
    names = [site.tensor for site in find_sites(unet)]
    with pytest.raises(KeyError, match="in the middle"), patched(unet, dict.fromkeys(names, torch.zeros_like)):
        assert not any(unet.get_parameter(name).any() for name in names)
        raise KeyError("in the middle")
    assert bits(unet) == before


def test_the_old_bits_come_back_where_a_change_fails(unet: UNet2DConditionModel) -> None:
    def fail(weight: Tensor) -> Tensor:
        raise ArithmeticError("no such edit")

    before = bits(unet)
    first, second, third = (site.tensor for site in find_sites(unet)[:3])
    changes = {first: torch.zeros_like, second: fail, third: torch.zeros_like}
    with pytest.raises(ArithmeticError, match="no such edit"), patched(unet, changes):
        pytest.fail("the block must not be entered")
    assert bits(unet) == before
    with pytest.raises(AttributeError, match="nothing"), patched(unet, {first: torch.zeros_like, "nothing": fail}):
        pytest.fail("the block must not be entered")
    assert bits(unet) == before


def test_odd_bits_come_back_too(unet: UNet2DConditionModel) -> None:
    name = find_sites(unet)[0].tensor
    with torch.no_grad():
        unet.get_parameter(name)[0, :4] = torch.tensor([-0.0, float("inf"), float("nan"), 1e-7])
    before = bits(unet)
    with patched(unet, {name: torch.ones_like}):
        assert (unet.get_parameter(name) == 1).all()
    assert bits(unet) == before


def test_blocks_within_blocks_are_undone_in_turn(unet: UNet2DConditionModel) -> None:
    name = find_sites(unet)[0].tensor
    before = bits(unet)
    with patched(unet, {name: torch.zeros_like}):
        between = bits(unet)
        with patched(unet, {name: torch.ones_like}):
            assert (unet.get_parameter(name) == 1).all()
        assert bits(unet) == between != before
    assert bits(unet) == before


def test_a_block_without_changes_changes_nothing_and_leaves_the_parameters_themselves(
    unet: UNet2DConditionModel,
) -> None:
    before, parameters = bits(unet), dict(unet.named_parameters())
    with patched(unet, {}):
        assert bits(unet) == before
    with patched(unet, {find_sites(unet)[0].tensor: torch.zeros_like}):
        pass
    assert all(value is parameters[name] for name, value in unet.named_parameters())


@pytest.mark.parametrize("change", [lambda weight: weight[:1], lambda weight: weight.double()], ids=["shape", "dtype"])
def test_a_change_of_shape_or_dtype_is_refused_and_nothing_stays_changed(change: Change) -> None:
    network = nn.Linear(3, 4)
    before = network.weight.detach().clone()
    said = r"weight: torch\.float32 \(4, 3\) is changed to"
    with pytest.raises(ValueError, match=said), patched(network, {"weight": change}):
        raise AssertionError("not reached")
    assert torch.equal(network.weight, before)
