"""What diffusers' conversion takes of a single file, followed without a weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from excise.checkpoint.original import OPEN_CLIP, SD3_CLIP, Part, converted, pieces_in, traced
from excise.checkpoint.tensorfile import Entry, read_header
from excise.diffusion.components import TEXT_MODEL, shapes_of
from excise.errors import ExciseError
from tests.checkpoint.one_file import text
from tests.checkpoint.original import save_original
from tests.conftest import build_tiny_pipeline, clip_tokenizer


def header_of(networks: dict[str, nn.Module]) -> dict[str, Entry]:
    """Of a file that holds text encoders under prefixes, named as transformers names them."""
    return {
        f"{prefix}{name if name.startswith((TEXT_MODEL, 'text_projection')) else TEXT_MODEL + name}": Entry(
            "F32", shape, 0, 0
        )
        for prefix, network in networks.items()
        for name, shape in shapes_of(network).items()
    }


def test_every_tensor_of_a_file_is_followed_to_its_bytes(tmp_path: Path) -> None:
    pipeline = build_tiny_pipeline(seed=0)
    path = save_original(pipeline, tmp_path / "one.safetensors")
    header = read_header(path)
    for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        pieces = pieces_in(path, header, network)
        assert pieces.keys() == network.state_dict().keys()
        for name, value in network.state_dict().items():
            assert pieces[name].shape == tuple(value.shape)
            assert pieces[name].whole() == value.detach().numpy().tobytes()


def test_rows_and_turned_tensors_of_openclip(tmp_path: Path) -> None:
    network = text(clip_tokenizer(), 16, "gelu", projected=True)
    prefix = OPEN_CLIP[1]
    layer = f"{prefix}transformer.resblocks.1.attn."
    tensors = {
        f"{prefix}positional_embedding": torch.rand(24, 16),
        f"{prefix}text_projection": torch.rand(16, 16),
        f"{layer}in_proj_weight": torch.rand(48, 16),
        f"{layer}in_proj_bias": torch.rand(48),
    }
    save_file(tensors, tmp_path / "one.safetensors")
    header = read_header(tmp_path / "one.safetensors")
    found = traced(header, network)
    ours = "text_model.encoder.layers.1.self_attn."
    assert found[f"{ours}v_proj.weight"] == Part(f"{layer}in_proj_weight", 32, 16, (16, 16))
    assert found[f"{ours}k_proj.bias"] == Part(f"{layer}in_proj_bias", 16, 16, (16,))
    assert found["text_projection.weight"] == Part(f"{prefix}text_projection", 0, 16, (16, 16), transposed=True)
    pieces = pieces_in(tmp_path / "one.safetensors", header, network)
    whole = load_file(tmp_path / "one.safetensors")
    expected = {
        f"{ours}v_proj.weight": whole[f"{layer}in_proj_weight"][32:],
        f"{ours}k_proj.bias": whole[f"{layer}in_proj_bias"][16:32],
        "text_projection.weight": whole[f"{prefix}text_projection"].T.contiguous(),
    }
    for name, value in expected.items():
        assert pieces[name].whole() == value.numpy().tobytes()


def test_two_encoders_are_told_apart_by_their_widths() -> None:
    """Those of Stable Diffusion 3: the first has no projection in its file, and gets one."""
    first, second = (text(clip_tokenizer(), width, "gelu", projected=True) for width in (16, 24))
    header = header_of(dict(zip(SD3_CLIP, (first, second), strict=True)))
    del header[f"{SD3_CLIP[0]}text_projection.weight"]
    stand_ins = {name: torch.empty(entry.shape, device="meta") for name, entry in header.items()}
    for network in (first, second):
        found = converted(stand_ins, header, network)
        assert {name: tuple(found[name].shape) for name in shapes_of(network)} == shapes_of(network)
    assert converted(stand_ins, header, text(clip_tokenizer(), 32, "gelu", projected=True)) == {}


def test_a_conversion_that_misses_a_tensor_says_which() -> None:
    from diffusers import UNet2DConditionModel

    config: dict[str, Any] = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
    with torch.device("meta"):
        network = UNet2DConditionModel(
            block_out_channels=(8,),
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
            norm_num_groups=4,
            projection_class_embeddings_input_dim=8,
            **config,
        )
    with pytest.raises(ExciseError, match=r"no tensor 'label_emb\.0\.0\.weight' for the UNet2DConditionModel"):
        traced({"model.diffusion_model.out.0.bias": Entry("F32", (8,), 0, 32)}, network)
