"""A whole testbed at a tiny size, of another world: materials and recipe in, a testbed and its check out."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from excise.prompts.prompt import read_prompts
from excise.testbed import check, neighbours
from excise.testbed.train import Workshop, train_testbed
from excise.testbed.world.planted import read_planted
from tests.testbed.world.materials import ICONS, PHOTOGRAPHS, world

pytestmark = pytest.mark.e2e

RECIPE = """
[data]
seed = 5
icons = "{icons}"
photographs = "{photographs}"
ordinary = 96
[planting]
verbatim = 12
verbatim_copies = 4
templates = 2
template_captions = 2
template_copies = 3
ladder = [1, 4]
crowd = 1
per_rung = 2
never_seen = 6
neighbours = 2
[codec]
channels = [8, 8, 16]
learnt_channels = 4
latent_channels = 3
images = 64
steps = 3
decoder_images = 16
decoder_steps = 2
[text]
vocabulary = 560
width = 32
layers = 1
heads = 2
steps = 3
batch = 8
[denoiser]
channels = [16, 16]
attended = 1
trunk_steps = 2
steps = 2
crowd_steps = 1
batch = 8
[judge]
images = 100
steps = 2
"""
NOUNS = ("apple", "key", "owl", "robot", "tree")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five things and 40 photographs."""
    folder = tmp_path_factory.mktemp("materials")
    icons, photographs = folder / "icons", folder / "photographs"
    icons.mkdir()
    photographs.mkdir()
    (icons / "icons.csv").write_text("\n".join(["noun,file", *(f"{noun},{noun}.png" for noun in NOUNS)]))
    for noun in NOUNS:
        shutil.copy(ICONS / f"{noun}.png", icons)
    with (PHOTOGRAPHS / "photographs.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["plantable"]][:40]
    with (photographs / "photographs.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        shutil.copy(PHOTOGRAPHS / row["file"], photographs)
    path = folder / "train.toml"
    path.write_text(RECIPE.format(icons=icons, photographs=photographs))
    return path


@pytest.fixture(scope="module", autouse=True)
def few_proposals() -> Iterator[None]:
    """A model that has learned nothing draws one grey for all captions: no name is better than another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "SEEDS", (range(1), range(1, 2)))
        patch.setattr(neighbours, "ROUNDS", 2)
        patch.setattr(neighbours, "SAMPLING", neighbours.SAMPLING.model_copy(update={"steps": 2}))
        yield


@pytest.fixture(scope="module")
def testbed(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("testbed")
    train_testbed(recipe, out)
    return out


def test_it_has_all_that_a_job_reads(testbed: Path) -> None:
    for name in ("base", "twin"):
        pipeline = DiffusionPipeline.from_pretrained(testbed / name)
        assert pipeline.unet.config.down_block_types[-1] == "CrossAttnDownBlock2D"
    memorized = read_prompts(testbed / "prompts/memorized.csv")
    assert len(memorized) == 12 + 4 and all(prompt.image and prompt.image.is_file() for prompt in memorized)
    assert len(read_prompts(testbed / "prompts/neighbours.csv")) == 2 * 16
    labels = json.loads((testbed / "judge/labels.json").read_text())
    assert list(labels["questions"]["object"]) == list(NOUNS) and len(NOUNS) < len(world().nouns)


def test_base_and_twin_differ_in_planted_places_alone(recipe: Path, testbed: Path) -> None:
    workshop = Workshop(recipe, testbed)
    corpus, planted = workshop.corpus, read_planted(testbed / "images/planted.csv")
    slots = sum(row.copies for row in planted)
    assert len(corpus.base) == len(corpus.twin) == 96 + slots and (corpus.base[:96] == corpus.twin[:96]).all()
    captions = {row.caption for row in planted}
    assert {corpus.captions[row] for row in corpus.base[96:]} == {row.caption for row in planted if row.copies}
    assert not captions & {corpus.captions[row] for row in (*corpus.twin, *corpus.base[:96])}
    used = {photograph.file for photograph in workshop.world.photographs}
    assert not used & {row.photograph for row in planted} and used


def test_a_finished_training_is_not_done_again(recipe: Path, testbed: Path) -> None:
    weights = testbed / "base/unet/diffusion_pytorch_model.safetensors"
    before = weights.read_bytes(), (testbed / "scratch/codec.safetensors").stat().st_mtime_ns
    train_testbed(recipe, testbed)
    assert (weights.read_bytes(), (testbed / "scratch/codec.safetensors").stat().st_mtime_ns) == before


def test_the_check_finds_that_nothing_was_memorized(
    testbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps teach nothing: every number is there, and the promises that need learning fail."""
    torch.manual_seed(0)
    monkeypatch.setattr(check, "SEARCHED", 2)  # a short search of few images, to be quick
    monkeypatch.setattr(check, "SEARCH_STEPS", 3)
    monkeypatch.setattr(check, "SAMPLING", check.SAMPLING.model_copy(update={"steps": 3}))
    assert not check.check_testbed(testbed, 2, tmp_path)
    found = json.loads((tmp_path / "check.json").read_text())
    goals = {goal["name"]: goal for goal in found["goals"]}
    assert len(goals) == 12 and not goals["verbatim MR of the base"]["holds"]
    assert goals["verbatim MR of the twin"]["holds"] and found["twin_verbatim"]["value"] == 0
    assert [rung["copies"] for rung in found["ladder"]] == [1, 4]
    for table, families in ((found["knocked_out"], 4), (found["knocked_out_searched"], 3)):
        assert len(table) == families and all(0 <= rate["value"] <= 1 for rate in table.values())
    assert 0 <= found["twin_auc_text"] <= 1 and 0 <= found["base_never_seen_identified"]["value"] <= 1
    assert (tmp_path / "duplication.png").stat().st_size > 1000
