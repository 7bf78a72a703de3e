"""What is said of each pipeline's class is what the class of diffusers needs, does and draws."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import denoise
from excise.diffusion.load import LEFT_OUT
from excise.diffusion.pipelines import PIPELINES, kind_of, networks_of
from excise.errors import ExciseError
from excise.recipe import Sampling
from tests.diffusion.pipelines import FAMILIES, MORE, save


@pytest.mark.parametrize("name", PIPELINES)
def test_its_components_are_those_of_its_constructor(name: str) -> None:
    """All that it has, but for what is never loaded; ``None`` as a default does not say that it can do without."""
    given = inspect.signature(getattr(diffusers, name).__init__).parameters
    parts = {key for key, value in given.items() if value.default in (inspect.Parameter.empty, None)}
    kind = PIPELINES[name]
    assert {*kind.needs, *kind.may} == parts - {"self", "add_watermarker", "requires_safety_checker", *LEFT_OUT}
    assert not set(kind.needs) & set(kind.may)


def test_every_pipeline_of_the_list_is_tried() -> None:
    assert {type(build()).__name__ for build in (FAMILIES | MORE).values()} == set(PIPELINES)


@pytest.mark.parametrize("family", FAMILIES | MORE)
def test_it_draws_the_sizes_that_it_is_said_to_draw_and_no_other(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = Checkpoint.open(save(family, tmp_path / family))
    pipeline = checkpoint.load(torch.float32, torch.device("cpu"))
    multiple = checkpoint.side_multiple()

    def drawn(side: int) -> tuple[int, ...] | None:
        try:
            sampling = Sampling(steps=2, guidance=1.0, size=side)
            return tuple(denoise(pipeline, ["a red circle"], [0], sampling).shape[-2:])
        except Exception:  # as many kinds as there are pipelines
            return None

    with caplog.at_level(logging.CRITICAL):
        for side in (2 * multiple, 3 * multiple):
            assert drawn(side) == (side, side)
        refused = [side for side in range(2 * multiple + 1, 3 * multiple) if side % 8 == 0 or side % 2 == 1][:4]
        assert not [side for side in refused if drawn(side) == (side, side)]


@pytest.mark.parametrize("family", FAMILIES | MORE)
def test_its_usual_size_is_the_one_that_is_foretold(family: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(save(family, tmp_path / family))
    side = checkpoint.side(None)
    assert side % checkpoint.side_multiple() == 0 and checkpoint.side(72) == 72
    pipeline: Any = checkpoint.load(torch.float32, torch.device("cpu"))
    parts = pipeline.components
    latents = (
        getattr(pipeline, "default_sample_size", None) or (parts.get("unet") or parts["transformer"]).config.sample_size
    )
    assert side == latents * pipeline.vae_scale_factor


@pytest.mark.parametrize("name", ["StableDiffusionInpaintPipeline", "StableDiffusionImg2ImgPipeline", "DDPMPipeline"])
def test_a_pipeline_that_draws_from_more_than_a_text_is_refused(name: str) -> None:
    with pytest.raises(ExciseError, match=f"{name} is not one of the text-to-image pipelines that are supported"):
        kind_of({"_class_name": name})


def test_networks_are_what_has_weights(tmp_path: Path) -> None:
    index = dict(Checkpoint.open(save("sd3", tmp_path / "sd3")).index)
    assert set(networks_of(index)) == {"transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"}
    index |= {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    assert "text_encoder_3" not in networks_of(index)
    with pytest.raises(ExciseError, match="tokenizer_2 is not there, and a StableDiffusion3Pipeline draws nothing"):
        networks_of(index | {"tokenizer_2": [None, None]})
