"""Whether a checkpoint has what its pipeline needs, and whether another is of its architecture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel

from excise.checkpoint import Checkpoint
from excise.checkpoint.parts import check_parts, difference
from excise.errors import ExciseError
from tests.checkpoint.layouts import PLAIN, add_half_precision, shard
from tests.diffusion.pipelines import FAMILIES, save


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_checkpoint_passes_and_is_like_itself(family: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(save(family, tmp_path / family))
    check_parts(checkpoint)
    checkpoint.check_shapes()
    checkpoint.check_finite()
    assert difference(checkpoint, Checkpoint.open(checkpoint.folder)) is None


def test_every_layout_of_weights_passes(base: Path) -> None:
    shard(base)
    check_parts(Checkpoint.open(base))
    add = shutil.copytree(base / "unet", base.parent / "unet")
    shutil.rmtree(base / "unet")
    UNet2DConditionModel.from_pretrained(add).save_pretrained(base / "unet")
    add_half_precision(base)
    check_parts(Checkpoint.open(base))


def test_pickles_alone_are_named(base: Path) -> None:
    (base / "vae" / PLAIN).rename(base / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(
        ExciseError, match=r"vae: no safetensors file, only vae/diffusion_pytorch_model\.bin, which is n"
    ):
        check_parts(Checkpoint.open(base))


def test_an_sd3_without_its_third_encoder_is_whole(tmp_path: Path) -> None:
    folder = save("sd3", tmp_path / "sd3")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))
    check_parts(Checkpoint.open(folder))


def test_a_twin_of_other_widths_or_classes_differs(base: Path, tiny_checkpoint: Path) -> None:
    whole = Checkpoint.open(tiny_checkpoint)
    config = json.loads((base / "unet" / "config.json").read_text())
    (base / "unet" / "config.json").write_text(json.dumps(config | {"block_out_channels": [16, 64]}))
    said = difference(whole, Checkpoint.open(base))
    assert said is not None and said.startswith("its unet's ") and "the base's" in said
    index = json.loads((base / "model_index.json").read_text())
    other = index | {"text_encoder": ["transformers", "CLIPTextModelWithProjection"]}
    (base / "model_index.json").write_text(json.dumps(other))
    said = difference(whole, Checkpoint.open(base))
    assert said == (
        "its text_encoder is ['transformers', 'CLIPTextModelWithProjection'], the base's "
        "['transformers', 'CLIPTextModel']"
    )
