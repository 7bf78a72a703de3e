"""A diffusers folder as one file: diffusers reads the same weights from it, bit for bit, offline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import infer_diffusers_model_type
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from excise.checkpoint import Checkpoint
from excise.checkpoint.export_folder import of_folder
from excise.checkpoint.exported import LAYOUTS, write_contents
from excise.checkpoint.tensorfile import Entry, write_sketch
from excise.diffusion.components import shapes_of
from excise.errors import ExciseError
from tests.checkpoint.layouts import shard
from tests.checkpoint.one_file import ORIGINALS, PLAIN_WEIGHTS, loaded, save, weights_of
from tests.checkpoint.original import save_original
from tests.conftest import build_tiny_pipeline
from tests.diffusion import pipelines

WEIGHTS = "diffusion_pytorch_model.safetensors"


def written(folder: Path, path: Path, variant: str | None = None) -> Path:
    return write_contents(of_folder(Checkpoint.open(folder), variant), path).path


def same_weights(one: DiffusionPipeline, other: DiffusionPipeline) -> None:
    """Every tensor of every component has the same name, dtype and bits in both."""
    here, there = weights_of(one), weights_of(other)
    assert here.keys() == there.keys()
    for component, tensors in here.items():
        assert tensors.keys() == there[component].keys() and tensors
        for name, value in tensors.items():
            assert value.dtype == there[component][name].dtype
            assert torch.equal(value, there[component][name]), (component, name)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [*((family, torch.float32) for family in ORIGINALS), ("sd2", torch.float16), ("xl", torch.bfloat16)],
    ids=str,
)
def test_diffusers_reads_the_same_weights(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = save(family, tmp_path / family, dtype)
    path = written(folder, tmp_path / "one.safetensors")
    same_weights(Checkpoint.open(folder).load(dtype, torch.device("cpu")), loaded(path, folder))


def test_it_is_what_the_original_layout_is_by_another_hand(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written(tiny_checkpoint, tmp_path / "one.safetensors")
    expected = load_file(save_original(build_tiny_pipeline(seed=0), tmp_path / "other.safetensors"))
    found = load_file(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_text_encoders_of_openclip_have_merged_and_turned_tensors(tmp_path: Path) -> None:
    folder = save("xl", tmp_path / "xl")
    found = load_file(written(folder, tmp_path / "one.safetensors"))
    second = load_file(folder / "text_encoder_2" / "model.safetensors")
    prefix = "conditioner.embedders.1.model."
    layer = "text_model.encoder.layers.1.self_attn"
    merged = torch.cat([second[f"{layer}.{one}_proj.weight"] for one in "qkv"])
    assert torch.equal(found[f"{prefix}transformer.resblocks.1.attn.in_proj_weight"], merged)
    assert torch.equal(found[f"{prefix}text_projection"], second["text_projection.weight"].T)
    assert not torch.equal(second["text_projection.weight"], second["text_projection.weight"].T)


def test_every_variant_by_its_name_and_the_loaded_one_without(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
    build_tiny_pipeline(seed=0).to(torch.float16).save_pretrained(folder, variant="fp16")
    plain, half = written(folder, tmp_path / "a.safetensors"), written(folder, tmp_path / "b.safetensors", "fp16")
    assert plain.read_bytes() == written(tiny_checkpoint, tmp_path / "c.safetensors").read_bytes()
    same_weights(
        DiffusionPipeline.from_pretrained(folder, variant="fp16", dtype=torch.float16, local_files_only=True),
        loaded(half, folder),
    )
    (folder / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    with pytest.raises(ExciseError, match=r"vae: no weights of the variant 'fp16'; there are diffusion_pytorch_model"):
        of_folder(Checkpoint.open(folder), "fp16")


def test_shards(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
    whole = written(folder, tmp_path / "whole.safetensors").read_bytes()
    shard(folder)
    assert written(folder, tmp_path / "shards.safetensors").read_bytes() == whole


def test_names_that_older_checkpoints_have(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Of an autoencoder's attention, and a text encoder's positions, which nothing loads any more."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
    whole = written(folder, tmp_path / "whole.safetensors").read_bytes()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(folder / "vae" / WEIGHTS)
    for now, then in old.items():
        weights = {name.replace(f"attentions.0.{now}.", f"attentions.0.{then}."): one for name, one in weights.items()}
    save_file(weights, folder / "vae" / WEIGHTS)
    text = {f"text_model.{name}": one for name, one in load_file(folder / "text_encoder" / PLAIN_WEIGHTS).items()}
    text["text_model.embeddings.position_ids"] = torch.arange(24)[None]
    save_file(text, folder / "text_encoder" / PLAIN_WEIGHTS)
    contents = of_folder(Checkpoint.open(folder))
    assert any("text_encoder: embeddings.position_ids" in note for note in contents.notes)
    assert write_contents(contents, tmp_path / "old.safetensors").path.read_bytes() == whole


def test_what_the_layout_cannot_say_is_said(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert of_folder(Checkpoint.open(tiny_checkpoint)).notes == []
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"prediction_type": "v_prediction"}))
    (note,) = of_folder(Checkpoint.open(folder)).notes
    assert "prediction_type = v_prediction (scheduler/scheduler_config.json)" in note


@pytest.mark.parametrize("family", ["sd3", "flux", "pixart", "hunyuan", "cogview4", "qwenimage", "sana"])
def test_other_architectures_are_refused_by_name(family: str, tmp_path: Path) -> None:
    folder = pipelines.save(family, tmp_path / family)
    base = Checkpoint.open(folder)
    with pytest.raises(ExciseError) as refusal:
        of_folder(base)
    for word in (base.pipeline_class, base.architecture, "Stable Diffusion 1, 2 and XL", *LAYOUTS):
        assert word in str(refusal.value)


def test_two_encoders_of_one_width_cannot_be_told_apart(tmp_path: Path) -> None:
    """As diffusers goes by the width; it would read the first in the place of the second."""
    folder = pipelines.save("sdxl", tmp_path / "sdxl")
    with pytest.raises(ExciseError, match=r"text_encoder_2: .* diffusers would read conditioner\.embedders\.0"):
        of_folder(Checkpoint.open(folder))


def test_a_tensor_without_a_place_is_refused_by_name(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
    config = json.loads((folder / "unet" / "config.json").read_text()) | {"time_cond_proj_dim": 8}
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    with pytest.raises(ExciseError, match=r"unet: time_embedding\.cond_proj\.weight: has no place in the original"):
        of_folder(Checkpoint.open(folder))


def test_a_component_of_another_class_is_refused_by_name(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
    index = json.loads((folder / "model_index.json").read_text())
    index["vae"] = ["diffusers", "AutoencoderTiny"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ExciseError, match=r"whose vae is .*AutoencoderTiny"):
        of_folder(Checkpoint.open(folder))


SMALL_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
LARGE: dict[str, dict[str, dict[str, Any]]] = {
    "v1": {"unet": {"cross_attention_dim": 768}, "text_encoder": SMALL_TEXT},
    "v2": {
        "unet": {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
        "text_encoder": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,
            "hidden_act": "gelu",
        },
    },
    "xl_base": {
        "unet": {
            "cross_attention_dim": 2048,
            "attention_head_dim": (5, 10, 20),
            "use_linear_projection": True,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        "text_encoder": SMALL_TEXT,
        "text_encoder_2": {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "hidden_act": "gelu",
            "projection_dim": 1280,
        },
    },
}
"""The large models, as they are built; the autoencoder is the same in all."""
COUNTS = {"v1": 686 + 248 + 196, "v2": 686 + 248 + 23 * 12 + 4, "xl_base": 1680 + 248 + 196 + 32 * 12 + 5}
"""Tensors of UNet, autoencoder and text encoders in the published files, without positions and temperature."""


def large(family: str, folder: Path) -> Path:
    """A folder of full size whose weights are holes."""
    classes = {
        "unet": UNet2DConditionModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    }
    index: dict[str, Any] = {"_class_name": list(LAYOUTS)[family == "xl_base"]}
    with torch.device("meta"):
        networks = {"vae": AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )}  # fmt: skip
        for name, settings in LARGE[family].items():
            if name == "unet":
                networks[name] = UNet2DConditionModel(**settings)
            else:
                networks[name] = classes[name](CLIPTextConfig(vocab_size=49408, max_position_embeddings=77, **settings))
    for name, network in networks.items():
        library = "transformers" if name.startswith("text") else "diffusers"
        index[name] = [library, type(network).__name__]
        place = folder / name
        if library == "transformers":
            network.config.save_pretrained(place)
        else:
            network.save_config(place)
        file = PLAIN_WEIGHTS if library == "transformers" else WEIGHTS
        write_sketch(place / file, {key: ("F16", shape) for key, shape in shapes_of(network).items()})
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("family", LARGE)
def test_at_full_size_it_is_taken_for_what_it_is(family: str, tmp_path: Path) -> None:
    contents = of_folder(Checkpoint.open(large(family, tmp_path)))
    header = {name: Entry(one.dtype, one.shape, 0, 0) for name, one in contents.tensors.items()}
    assert infer_diffusers_model_type(header) == family
    assert len(header) == COUNTS[family]
