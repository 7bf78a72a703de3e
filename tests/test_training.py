"""The filter of a training loop: weights by magnitude, whatever the denoiser is told by, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from excise.checkpoint import Checkpoint
from excise.diffusion.load import denoiser
from excise.diffusion.text_inputs import TEXT_INPUTS, nested, seen_call
from excise.mathematics.detection import magnitude
from excise.recipe import Sampling
from excise.training import MagnitudeFilter
from tests.diffusion.pipelines import save

EMPTY = {"encoder_hidden_states": torch.zeros(1, 4, 16)}
TIMES = torch.tensor([10, 500, 999])


def small_unet(seed: int = 0) -> UNet2DConditionModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32,),
            down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",),
            mid_block_type=None,
            layers_per_block=1,
            attention_head_dim=2,
            norm_num_groups=4,
            cross_attention_dim=16,
        )


def batch() -> dict[str, torch.Tensor]:
    """Three samples, as a loop gives them to the denoiser."""
    random = torch.Generator().manual_seed(1)
    latents, states = torch.randn(3, 4, 8, 8, generator=random), torch.randn(3, 4, 16, generator=random)
    return {"sample": latents, "timestep": TIMES, "encoder_hidden_states": states}


def added(unet: UNet2DConditionModel, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the text adds to each prediction, the plain way."""
    silent = EMPTY["encoder_hidden_states"].expand(3, -1, -1)
    with torch.no_grad():
        told = unet(**given, return_dict=False)[0]
        return magnitude(told, unet(given["sample"], TIMES, silent, return_dict=False)[0])


def test_weights_are_by_the_magnitude_of_each_sample() -> None:
    unet, given, empty = small_unet(), batch(), EMPTY
    predicted = unet(**given, return_dict=False)[0]
    expected = added(unet, given)
    middle = float(expected.median())
    drop = MagnitudeFilter(unet, empty, middle)
    assert torch.allclose(drop.lengths(predicted, given), expected)
    weights = drop(predicted, given)
    assert weights.tolist() == (expected <= middle).float().tolist() and not weights.requires_grad
    assert (drop.seen, drop.held) == (3, 1) and predicted.requires_grad
    lower = MagnitudeFilter(unet, empty, middle, above="lower")(predicted, given)
    assert torch.allclose(lower, (middle / expected).clamp_max(1.0))
    by_time = torch.ones(1000)
    by_time[500] = 2 * float(expected[1])
    by_time[[10, 999]] = 0.5 * expected[[0, 2]]
    assert MagnitudeFilter(unet, empty, by_time)(predicted, given).tolist() == [0.0, 1.0, 0.0]


def test_a_reference_says_what_each_sample_may_come_to() -> None:
    unet, before, given = small_unet(), small_unet(seed=1), batch()
    predicted = unet(**given, return_dict=False)[0]
    ratios = added(unet, given) / added(before, given)
    factor = float(ratios.median()) * 1.001
    keep = MagnitudeFilter(unet, EMPTY, factor, reference=before)
    assert keep(predicted, given).tolist() == (ratios <= factor).float().tolist() and keep.held == 1
    lower = MagnitudeFilter(unet, EMPTY, factor, "lower", before)(predicted, given)
    assert torch.allclose(lower, (factor / ratios).clamp_max(1.0))
    by_time = torch.ones(1000)
    by_time[TIMES] = ratios * torch.tensor([1.01, 0.99, 1.01])
    assert MagnitudeFilter(unet, EMPTY, by_time, reference=before)(predicted, given).tolist() == [1.0, 0.0, 1.0]


def test_a_text_in_a_dictionary_is_left_out_too(tmp_path: Path) -> None:
    """Stable Diffusion XL is told the text twice; sizes stay each row's own."""
    pipeline = Checkpoint.open(save("sdxl", tmp_path / "sdxl")).load(torch.float32, torch.device("cpu"))
    name, sampling = type(pipeline).__name__, Sampling(steps=2, guidance=3.0, size=64)
    told, silent = (seen_call(pipeline, text, sampling) for text in ("a pile of old coins", ""))
    empty = {key: silent[key] for key in TEXT_INPUTS[name]}
    given = {key: value for key, value in nested(told).items() if key != "return_dict"}
    network = denoiser(pipeline)
    with torch.no_grad():
        predicted, without = (network(**nested(call | {"return_dict": False}))[0] for call in (told, told | empty))
    keep = MagnitudeFilter(network, empty, 1.0)
    assert torch.allclose(keep.lengths(predicted, given), magnitude(predicted, without), rtol=1e-5)


def test_what_cannot_be_weighed_is_refused() -> None:
    unet, given = small_unet(), batch()
    for threshold in (0.0, -1.0, torch.zeros(10)):
        with pytest.raises(ValueError, match="threshold"):
            MagnitudeFilter(unet, EMPTY, threshold)
    with pytest.raises(ValueError, match="names no argument"):
        MagnitudeFilter(unet, {}, 1.0)
    predicted = unet(**given, return_dict=False)[0]
    with pytest.raises(ValueError, match="'other'"):
        MagnitudeFilter(unet, {"other": torch.zeros(1, 4, 16)}, 1.0)(predicted, given)
    with pytest.raises(ValueError, match="10 timesteps"):
        MagnitudeFilter(unet, EMPTY, torch.ones(10))(predicted, given)


def test_the_loop_of_the_documentation_runs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "finding.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    unet, given = small_unet(), batch()
    names: dict[str, Any] = {
        "torch": torch,
        "F": torch.nn.functional,
        "unet": unet,
        "empty_states": EMPTY["encoder_hidden_states"],
        "scheduler": DDIMScheduler(),
        "optimizer": torch.optim.AdamW(unet.parameters()),
        "batches": [(torch.randn(2, 4, 8, 8), given["encoder_hidden_states"][:2])] * 2,
    }
    exec(compile(block, "docs/finding.md", "exec"), names)
    assert names["keep"].seen == 4
