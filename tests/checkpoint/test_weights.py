"""Where tensors lie: in every layout that weights come in, and in every copy of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from excise.checkpoint.tensorfile import read_entry
from excise.checkpoint.weights import check_shapes, copies_of, tensor_places
from excise.errors import ExciseError
from tests.checkpoint.layouts import HALF, NAME, OTHER, PLAIN, add_half_precision, alter, shard


def test_the_copy_that_is_loaded_stands_first(base: Path) -> None:
    add_half_precision(base)
    unet = base / "unet"
    assert copies_of(unet) == {PLAIN: (unet / PLAIN,), HALF: (unet / HALF,)}
    assert list(copies_of(unet)) == [PLAIN, HALF]
    (unet / PLAIN).unlink()
    assert list(copies_of(unet)) == [HALF]


def test_shards_are_one_copy_under_the_name_of_their_index(base: Path) -> None:
    shard(base)
    ((index, files),) = copies_of(base / "unet").items()
    assert index == f"{PLAIN}.index.json"
    assert files == tuple(sorted((base / "unet").glob("*.safetensors")))
    weights = UNet2DConditionModel.from_pretrained(base / "unet").state_dict()
    for name, (place,) in tensor_places(base / "unet", weights).items():
        assert torch.equal(read_entry(*place), weights[name])


def test_sharded_half_precision_beside_plain(base: Path) -> None:
    model = UNet2DConditionModel.from_pretrained(base / "unet").half()
    model.save_pretrained(base / "unet", max_shard_size="150KB", variant="fp16")
    assert (base / "unet" / PLAIN).exists()
    assert list(copies_of(base / "unet")) == [PLAIN, "diffusion_pytorch_model.safetensors.index.fp16.json"]
    places = tensor_places(base / "unet", [NAME])[NAME]
    assert [entry.dtype for _, entry in places] == ["F32", "F16"]


def test_a_place_holds_the_tensors_bytes(base: Path) -> None:
    weights, whole = load_file(base / "unet" / PLAIN), (base / "unet" / PLAIN).read_bytes()
    for name, ((file, entry),) in tensor_places(base / "unet", [OTHER, NAME]).items():
        assert file == base / "unet" / PLAIN and entry.shape == tuple(weights[name].shape)
        assert whole[entry.start : entry.stop] == weights[name].numpy().tobytes()


def test_a_copy_that_lacks_the_tensor_is_refused(base: Path) -> None:
    save_file({"lora": torch.ones(2)}, base / "unet" / "diffusion_pytorch_model.extra.safetensors")
    with pytest.raises(ExciseError, match=rf"model\.extra\.safetensors: no tensor '{NAME}'.*move this copy away"):
        tensor_places(base / "unet", [NAME])


def test_integer_weights_are_refused(base: Path) -> None:
    alter(base / "unet" / PLAIN, **{NAME: load_file(base / "unet" / PLAIN)[NAME].to(torch.int8)})
    with pytest.raises(ExciseError, match="stored as I8, which cannot be edited; save it as one of"):
        tensor_places(base / "unet", [NAME])
    assert tensor_places(base / "unet", [OTHER]).keys() == {OTHER}


@pytest.mark.parametrize(
    "content", [b"", b"\x05\0\0\0\0\0\0\0[1,2]", b"\x10\0\0\0\0\0\0\0{", b'\x09\0\0\0\0\0\0\0{"a": {}}']
)
def test_broken_files_are_refused(base: Path, content: bytes) -> None:
    (base / "unet" / PLAIN).write_bytes(content)
    with pytest.raises(ExciseError, match=f"{PLAIN}: .*fetch it again"):
        tensor_places(base / "unet", [NAME])


@pytest.mark.parametrize(
    "shards", [{"a": "gone.safetensors"}, {"a": "../vae/diffusion_pytorch_model.safetensors"}, {"a": 3}]
)
def test_an_index_of_shards_that_are_not_beside_it_is_refused(base: Path, shards: dict[str, object]) -> None:
    (base / "unet" / f"{PLAIN}.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ExciseError, match="not beside it"):
        copies_of(base / "unet")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": ["b"]}}', "[" * 100_000])
def test_an_index_that_is_none_is_refused(base: Path, text: str) -> None:
    (base / "unet" / f"{PLAIN}.index.json").write_text(text)
    with pytest.raises(ExciseError, match=r"index\.json: not an index of safetensors shards: .*fetch it again"):
        copies_of(base / "unet")


def test_a_component_that_is_not_its_configurations_is_refused(base: Path) -> None:
    weights = load_file(base / "unet" / PLAIN)
    expected = {name: tuple(value.shape) for name, value in weights.items()}
    add_half_precision(base)
    check_shapes(base / "unet", expected)
    alter(base / "unet" / HALF, **{NAME: weights[NAME][:-1].half()})
    with pytest.raises(ExciseError, match=rf"{HALF}: mid_block.*: shape \(31, 128\), but config.json asks for \(32, 1"):
        check_shapes(base / "unet", expected)
    alter(base / "unet" / HALF, **{NAME: None})
    with pytest.raises(ExciseError, match=rf"{HALF}: no tensor 'mid_block.*which config.json asks for"):
        check_shapes(base / "unet", expected)
