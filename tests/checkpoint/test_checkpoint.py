"""A checkpoint is opened and checked once, and then tells what stands in its folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn

from excise.checkpoint import Checkpoint
from excise.diffusion.sites import FAMILIES, find_sites
from excise.errors import ExciseError
from tests.checkpoint.layouts import HALF, NAME, OTHER, PLAIN, add_half_precision, alter, contents, shard


def test_it_says_what_it_is(tiny_checkpoint: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    assert (checkpoint.folder, checkpoint.denoiser) == (tiny_checkpoint, tiny_checkpoint / "unet")
    assert checkpoint.pipeline_class == "StableDiffusionPipeline"
    assert checkpoint.architecture == "UNet2DConditionModel"
    assert checkpoint.components == ("scheduler", "text_encoder", "tokenizer", "unet", "vae")


def test_it_is_checked_when_it_is_opened(base: Path) -> None:
    """By folder, index and denoiser; what each of the three refuses is in test_folder.py."""
    index = (base / "model_index.json").read_text()
    for name, text, cure in (
        ("unet/my_unet.py", "", "use a checkpoint of a stock diffusers pipeline"),
        ("model_index.json", json.dumps(json.loads(index) | {"_class_name": "Mine"}), "custom pipelines are refused"),
        ("model_index.json", json.dumps(json.loads(index) | {"unet": [None, None]}), "one of unet, transformer"),
    ):
        (base / name).write_text(text)
        with pytest.raises(ExciseError, match=f"{name}: .*{cure}"):
            Checkpoint.open(base)
        (base / "model_index.json").write_text(index)
        (base / "unet" / "my_unet.py").unlink(missing_ok=True)
    assert Checkpoint.open(base) == Checkpoint.open(base)


def test_nothing_of_it_is_read_twice(base: Path) -> None:
    """The index when it is opened, the configuration with the first sites, weights when they are asked for."""
    (base / "unet" / PLAIN).write_bytes(b"no weights at all")
    checkpoint = Checkpoint.open(base)
    (base / "model_index.json").unlink()
    sites = {family: checkpoint.sites(family) for family in FAMILIES}
    (base / "unet" / "config.json").unlink()
    assert all(checkpoint.sites(family) is found for family, found in sites.items())
    assert checkpoint.sites() is sites["ffn"] and len({id(found) for found in sites.values()}) == len(FAMILIES)
    assert checkpoint.pipeline_class == "StableDiffusionPipeline" and "unet" in checkpoint.components
    with pytest.raises(ExciseError, match=rf"{PLAIN}: cut short, or not a safetensors file"):
        checkpoint.tensors()


@pytest.mark.parametrize("family", FAMILIES)
def test_its_sites_are_those_of_the_network(tiny_checkpoint: Path, family: str) -> None:
    network = UNet2DConditionModel.from_pretrained(tiny_checkpoint / "unet")
    assert Checkpoint.open(tiny_checkpoint).sites(family) == find_sites(network, family)


def test_an_unknown_architecture_is_refused(base: Path) -> None:
    index = json.loads((base / "model_index.json").read_text())
    (base / "model_index.json").write_text(json.dumps(index | {"unet": ["diffusers", "UNet2DModel"]}))
    with pytest.raises(ExciseError, match=r"UNet2DModel is not supported; supported: .*UNet2DConditionModel"):
        Checkpoint.open(base).sites()


def test_files_hashes_and_size_are_of_all_that_is_there(base: Path) -> None:
    (base / "README.md").write_text("A card.")
    found = contents(base)
    checkpoint = Checkpoint.open(base)
    assert checkpoint.files() == tuple(sorted(found)) and "README.md" in found
    assert checkpoint.hashes() == {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    assert checkpoint.size() == sum(map(len, found.values()))


def test_numbers_are_counted_in_one_copy_of_each_component(base: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(base)
    networks = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    numbers = sum(value.numel() for network in networks for value in network.state_dict().values())
    assert len(networks) == 3 and Checkpoint.open(base).numbers() == numbers
    add_half_precision(base)
    assert Checkpoint.open(base).numbers() == numbers
    shard(base)
    assert Checkpoint.open(base).numbers() == numbers


def test_configurations(base: Path) -> None:
    checkpoint = Checkpoint.open(base)
    assert checkpoint.configuration() == checkpoint.configuration("unet")
    assert checkpoint.configuration()["cross_attention_dim"] == 16
    assert checkpoint.configuration("vae")["latent_channels"] == 4
    assert checkpoint.configuration("tokenizer") == {}  # it has none


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"{", "is not valid JSON"),
        (b"\xff\xfe\x00", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'"someone/elses-model"', "is not a JSON object"),  # of which diffusers would fetch the configuration
    ],
)
def test_a_broken_configuration_is_named(base: Path, text: bytes, fault: str) -> None:
    for component in ("unet", "vae"):
        (base / component / "config.json").write_bytes(text)
        with pytest.raises(ExciseError, match=rf"{component}/config\.json: {fault}.*fetch it again"):
            Checkpoint.open(base).configuration(component)
    for work in (Checkpoint.sites, Checkpoint.check_shapes):
        with pytest.raises(ExciseError, match=rf"unet/config\.json: {fault}.*fetch it again"):
            work(Checkpoint.open(base))


def test_a_denoiser_needs_a_configuration_that_describes_it(base: Path) -> None:
    file = base / "unet" / "config.json"
    for text in (None, "{}"):
        file.unlink() if text is None else file.write_text(text)
        with pytest.raises(ExciseError, match=r"unet/config\.json: is empty or not there; fetch the checkpoint again"):
            Checkpoint.open(base).sites()
    file.write_text('{"block_out_channels": [16, 32]}')  # and four blocks, as is usual
    with pytest.raises(ExciseError, match=r"unet/config\.json: describes no UNet2DConditionModel.*fetch it again"):
        Checkpoint.open(base).sites()


def test_tensors_are_read_as_they_are_stored_in_the_copy_that_is_loaded(base: Path) -> None:
    weights = load_file(base / "unet" / PLAIN)
    add_half_precision(base)
    checkpoint = Checkpoint.open(base)
    assert checkpoint.tensors() == tuple(sorted(weights))
    assert torch.equal(checkpoint.read(NAME), weights[NAME]) and checkpoint.read(NAME).dtype == torch.float32
    assert [file.name for file, _ in checkpoint.places([NAME])[NAME]] == [PLAIN, HALF]
    (base / "unet" / PLAIN).unlink()
    half = Checkpoint.open(base)
    assert torch.equal(half.read(NAME), weights[NAME].half()) and half.read(NAME).dtype == torch.float16
    with pytest.raises(ExciseError, match=rf"{HALF}: no tensor 'nothing'.*move this copy away"):
        half.read("nothing")


def test_tensors_of_shards_are_all_of_them(base: Path) -> None:
    weights = load_file(base / "unet" / PLAIN)
    shard(base)
    checkpoint = Checkpoint.open(base)
    assert checkpoint.tensors() == tuple(sorted(weights))
    assert all(torch.equal(checkpoint.read(name), weights[name]) for name in (NAME, OTHER))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_refused_in_any_copy(base: Path, value: float) -> None:
    add_half_precision(base)
    Checkpoint.open(base).check_finite()
    weights = load_file(base / "unet" / HALF)
    weights[NAME][3, 1] = value
    save_file(weights, base / "unet" / HALF)
    with pytest.raises(ExciseError, match=rf"{HALF}: {NAME}: holds NaN or infinity; fetch the checkpoint again"):
        Checkpoint.open(base).check_finite()


def test_a_file_cut_short_is_refused(base: Path) -> None:
    file = base / "unet" / PLAIN
    file.write_bytes(file.read_bytes()[:-10])
    checkpoint = Checkpoint.open(base)
    for work in (checkpoint.check_finite, checkpoint.check_shapes, checkpoint.tensors, checkpoint.numbers):
        with pytest.raises(ExciseError, match=rf"{PLAIN}: cut short.*fetch it again"):
            work()


def test_a_denoiser_that_is_not_its_configurations_is_refused(base: Path) -> None:
    Checkpoint.open(base).check_shapes()
    alter(base / "unet" / PLAIN, **{NAME: load_file(base / "unet" / PLAIN)[NAME][:-1]})
    with pytest.raises(ExciseError, match=r"mid_block.*: shape \(31, 128\), but config.json asks for \(32, 128\)"):
        Checkpoint.open(base).check_shapes()
    alter(base / "unet" / PLAIN, **{NAME: None})
    with pytest.raises(ExciseError, match=r"no tensor 'mid_block.*which config.json asks for"):
        Checkpoint.open(base).check_shapes()
