"""The testbed's training on tiny sizes: the codec's folded standardisation, resuming, and the fork."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from excise.errors import ExciseError
from excise.testbed.codec import build_codec, fold_axes, to_unit
from excise.testbed.config import Codec, Denoiser, Text, load_testbed_recipe
from excise.testbed.corpus import Corpus, batches
from excise.testbed.denoiser import Training, build_scheduler, build_unet, fork_rate, trunk_rate
from excise.testbed.text import build_text_encoder, keep_tokenizer, train_tokenizer
from excise.testbed.train_judge import varied

TEXT = Text(vocabulary=560, length=16, width=32, layers=1, heads=2)
CODEC = Codec(channels=(8, 8, 8), learnt_channels=6, latent_channels=4)
DENOISER = Denoiser(channels=(16, 16), trunk_steps=4, steps=4, batch=4)
CAPTIONS = ["a red star", "a blue ring on the left", "two words"] * 8


@pytest.fixture
def corpus() -> Corpus:
    latents = torch.randn(24, 4, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    rows = np.arange(24)
    return Corpus(latents, CAPTIONS, rows, rows[::-1].copy(), rows[:0], 24)


def training(corpus: Corpus, folder: Path) -> Training:
    torch.manual_seed(0)
    tokenizer = keep_tokenizer(TEXT, CAPTIONS, folder / "tokenizer")
    encoder = build_text_encoder(TEXT, tokenizer)
    return Training(build_unet(DENOISER, CODEC, TEXT, 8), encoder, tokenizer, corpus, DENOISER, 0, torch.device("cpu"))


def look(name: str, step: int) -> None:
    """Nothing to see at this size."""


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return to_unit(np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8))


@torch.no_grad()
def test_folding_all_axes_decorrelates_latents_and_changes_no_image(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    codec = build_codec(CODEC, 6).eval()
    before = codec.encode(images).latent_dist
    folded = fold_axes(codec, before.mean, 6)
    after = folded.encode(images).latent_dist
    assert torch.allclose(folded.decode(after.mean).sample, codec.decode(before.mean).sample, atol=1e-3)
    covariance = torch.cov(after.mean.transpose(0, 1).flatten(1))
    variances = covariance.diagonal()
    assert torch.allclose(after.mean.mean(dim=(0, 2, 3)), torch.zeros(6), atol=1e-3)
    assert torch.allclose(covariance, variances.diag(), atol=1e-3) and variances.mean() == pytest.approx(1, rel=1e-3)
    learnt = torch.linalg.eigvalsh(torch.cov(before.mean.transpose(0, 1).flatten(1))).flip(0)
    ratio = variances.square() / learnt
    assert torch.allclose(ratio, ratio[0].expand(6), rtol=1e-2), "not half way between whitened and as they are"


@torch.no_grad()
def test_axes_without_variance_can_go(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    codec = build_codec(CODEC, 6).eval()
    codec.quant_conv.weight[4:6] = codec.quant_conv.weight[:2] + codec.quant_conv.weight[2:4]
    codec.quant_conv.bias[4:6] = codec.quant_conv.bias[:2] + codec.quant_conv.bias[2:4]
    before = codec.encode(images).latent_dist.mean
    mean = before.mean(dim=(0, 2, 3))  # what no kept axis can say is missing at the border; here it is nothing
    codec.post_quant_conv.bias.copy_(-codec.post_quant_conv.weight[:, :, 0, 0] @ mean)
    folded = fold_axes(codec, before, 4)
    assert folded.config.latent_channels == 4
    after = folded.encode(images).latent_dist.mean
    assert after.shape == (16, 4, 16, 16)
    assert torch.allclose(folded.decode(after).sample, codec.decode(before).sample, atol=1e-3)


def test_nothing_of_the_image_is_left_at_the_last_timestep() -> None:
    scheduler = build_scheduler()
    assert scheduler.alphas_cumprod[-1] == 0.0
    scheduler.set_timesteps(25)
    assert scheduler.timesteps[0] == scheduler.config.num_train_timesteps - 1


def test_the_tokenizer_reads_like_clip() -> None:
    tokenizer = train_tokenizer(TEXT, CAPTIONS)
    ids = tokenizer("A Blue  ring", padding="max_length", truncation=True).input_ids
    assert len(ids) == TEXT.length and ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a blue ring"


def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path, corpus: Corpus) -> None:
    rows = np.arange(24)
    whole = training(corpus, tmp_path)
    whole.run("trunk", rows, 0, 4, trunk_rate(DENOISER), tmp_path / "whole.safetensors", look)
    part = training(corpus, tmp_path)
    part.run("trunk", rows, 0, 2, trunk_rate(DENOISER), tmp_path / "part.safetensors", look)
    rest = training(corpus, tmp_path)
    rest.run("trunk", rows, 0, 4, trunk_rate(DENOISER), tmp_path / "part.safetensors", look)
    for a, b in zip(whole.unet.parameters(), rest.unet.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole.average.shadow_params, rest.average.shadow_params, strict=True):
        assert torch.equal(a, b)


def test_a_fork_trains_the_unet_and_leaves_the_text_encoder(tmp_path: Path, corpus: Corpus) -> None:
    trunk = training(corpus, tmp_path)
    trunk.run("trunk", np.arange(24), 0, 4, trunk_rate(DENOISER), tmp_path / "trunk.safetensors", look)
    ends = []
    for rows in (corpus.base, corpus.twin):
        forked = training(corpus, tmp_path)
        forked.fork(tmp_path / "trunk.safetensors")
        text = [parameter.clone() for parameter in forked.text_encoder.parameters()]
        start = [parameter.clone() for parameter in forked.unet.parameters()]
        forked.run("fork", rows, 4, 4, fork_rate(DENOISER), tmp_path / f"{len(ends)}.safetensors", look)
        assert all(torch.equal(a, b) for a, b in zip(text, forked.text_encoder.parameters(), strict=True))
        assert any(not torch.equal(a, b) for a, b in zip(start, forked.unet.parameters(), strict=True))
        ends.append([parameter.clone() for parameter in forked.unet.parameters()])
    assert any(not torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_training_recipe_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "train.toml"
    recipe.write_text('[data]\nicons = "i"\nphotographs = "p"\nsedd = 1\n')
    with pytest.raises(ExciseError, match=r"data\.sedd: unknown key"):
        load_testbed_recipe(recipe)


def test_base_and_twin_meet_the_same_places_and_a_resumed_order_goes_on() -> None:
    base, twin = np.arange(100), np.arange(100).copy()
    twin[80:] += 1000
    straight = list(islice(batches(base, 16, 5, 0), 20))
    other = list(islice(batches(twin, 16, 5, 0), 20))
    for a, b in zip(straight, other, strict=True):
        assert np.array_equal(a, np.where(b >= 1000, b - 1000, b))
    resumed = list(islice(batches(base, 16, 5, 13), 7))
    assert all(np.array_equal(a, b) for a, b in zip(straight[13:], resumed, strict=True))
    one_pass = np.concatenate(straight[:6])
    assert len(set(one_pass.tolist())) == 96


def test_samples_are_weighed_by_their_rows(corpus: Corpus, tmp_path: Path) -> None:
    plain, weighed = training(corpus, tmp_path), training(corpus, tmp_path)
    seen: list[np.ndarray] = []

    def first_alone(rows: np.ndarray, predicted: torch.Tensor, given: dict[str, torch.Tensor]) -> torch.Tensor:
        seen.append(rows)
        assert predicted.shape == given["sample"].shape and set(given) == {
            "sample",
            "timestep",
            "encoder_hidden_states",
        }
        return torch.arange(len(rows)) == 0

    weighed.weigh = first_alone
    with torch.no_grad():
        whole, one = (made.loss(np.arange(4), 0).item() for made in (plain, weighed))
        weighed.weigh = lambda rows, predicted, given: torch.ones(len(rows))
        assert weighed.loss(np.arange(4), 0).item() == pytest.approx(whole, rel=1e-5)
    assert seen[0].tolist() == [0, 1, 2, 3] and 0 < one < whole


def test_scenes_are_never_turned_over_and_works_are() -> None:
    """A ramp from top to bottom, which mirroring and moving leave one."""
    ramp = torch.linspace(0, 1, 64)[:, None].expand(200, 3, 64, 64)
    works = torch.arange(200) < 100
    seen = varied(ramp, works, np.random.default_rng(0))
    assert seen.shape == ramp.shape
    falls = seen[:, 0, 20, 32] > seen[:, 0, 44, 32]
    flat = (seen[:, 0, 20, 32] - seen[:, 0, 44, 32]).abs() < 0.05
    assert not falls[~works].any() and not flat[~works].any()
    assert 15 < int((falls & ~flat)[works].sum()) < 35 and 35 < int(flat[works].sum()) < 65
