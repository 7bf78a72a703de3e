"""The filter of a training loop: weights by magnitude, whatever the denoiser is told by, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.training_filter import World, scheduler, small_unet
from excise.checkpoint import Checkpoint
from excise.diffusion.load import denoiser
from excise.diffusion.text_inputs import TEXT_INPUTS, nested, seen_call
from excise.mathematics.detection import magnitude
from excise.recipe import Sampling
from excise.training import MagnitudeFilter
from tests.diffusion.pipelines import save


def test_weights_are_by_the_magnitude_of_each_sample() -> None:
    world, unet = World(), small_unet()
    times = torch.tensor([10, 500, 999])
    given = {"sample": torch.randn(3, 4, 8, 8), "timestep": times, "encoder_hidden_states": world.states[:3]}
    predicted = unet(**given, return_dict=False)[0]
    without = unet(given["sample"], times, world.empty.expand(3, -1, -1), return_dict=False)[0]
    expected = magnitude(predicted, without).detach()
    empty = {"encoder_hidden_states": world.empty}
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
    world, unet = World(), small_unet()
    empty = {"encoder_hidden_states": world.empty}
    for threshold in (0.0, -1.0, torch.zeros(10)):
        with pytest.raises(ValueError, match="threshold"):
            MagnitudeFilter(unet, empty, threshold)
    with pytest.raises(ValueError, match="names no argument"):
        MagnitudeFilter(unet, {}, 1.0)
    given = {
        "sample": torch.randn(1, 4, 8, 8),
        "timestep": torch.tensor([20]),
        "encoder_hidden_states": world.states[:1],
    }
    predicted = unet(**given, return_dict=False)[0]
    with pytest.raises(ValueError, match="'other'"):
        MagnitudeFilter(unet, {"other": world.empty}, 1.0)(predicted, given)
    with pytest.raises(ValueError, match="10 timesteps"):
        MagnitudeFilter(unet, empty, torch.ones(10))(predicted, given)


def test_the_loop_of_the_documentation_runs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "finding.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    world, unet = World(), small_unet()
    names: dict[str, Any] = {
        "torch": torch,
        "F": torch.nn.functional,
        "unet": unet,
        "empty_states": world.empty,
        "scheduler": scheduler(),
        "optimizer": torch.optim.AdamW(unet.parameters()),
        "batches": [(torch.randn(2, 4, 8, 8), world.states[:2])] * 2,
    }
    exec(compile(block, "docs/finding.md", "exec"), names)
    assert names["keep"].seen == 4
