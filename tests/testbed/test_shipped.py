"""The testbed as it ships: it loads anywhere, base memorized, twin did not, and the judge reads renders right."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open

from excise.attacks.replay import replay
from excise.checkpoint import Checkpoint
from excise.measures.judge import load_judge
from excise.measures.replication import Rule, load_target
from excise.prompts.prompt import read_prompts
from excise.recipe import load_recipe
from excise.testbed.calibration import SAMPLING, TILES, calibrate
from excise.testbed.codec import to_unit
from excise.testbed.config import MODELS, load_testbed_recipe
from excise.testbed.train import reserve
from excise.testbed.train_judge import accuracy, questions_of
from excise.testbed.world.planted import TABLE, captioned, read_planted
from excise.testbed.world.stream import draw_ordinary
from excise.testbed.world.tables import CONCEPTS, write_tables
from tests.testbed.world.materials import world

TESTBED = Path("checkpoints/testbed")
TRAINING = load_testbed_recipe(Path("recipes/testbed-train.toml"))
CONCEPT_TABLES = [f"concept-{noun}" for noun in CONCEPTS]
RECIPES = [Path("recipes/testbed.toml"), Path("recipes/testbed-full.toml")]


@pytest.mark.parametrize("name", MODELS)
def test_anyone_can_load_it_with_diffusers_alone(name: str) -> None:
    pipeline = DiffusionPipeline.from_pretrained(TESTBED / name)
    pipeline.set_progress_bar_config(disable=True)
    assert {p.dtype for part in (pipeline.unet, pipeline.text_encoder) for p in part.parameters()} == {torch.float32}
    image = pipeline("an owl in the center of a blue plain background", num_inference_steps=2).images[0]
    assert image.size == (64, 64)


def test_it_is_small_and_has_seven_sites_in_down_mid_and_up() -> None:
    size = sum(f.stat().st_size for name in MODELS for f in (TESTBED / name).rglob("*") if f.is_file())
    assert size <= 60e6
    places = [site.name.split("_")[0] for site in Checkpoint.open(TESTBED / "base").sites()]
    assert len(places) >= 7 and set(places) == {"down", "mid", "up"}


def test_base_and_twin_differ_in_the_unet_alone() -> None:
    for file in sorted(f for f in (TESTBED / "base").rglob("*") if f.is_file()):
        same = file.read_bytes() == (TESTBED / "twin" / file.relative_to(TESTBED / "base")).read_bytes()
        assert same == (file.suffix != ".safetensors" or file.parent.name != "unet")
    with safe_open(TESTBED / "base/unet/diffusion_pytorch_model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_use_the_settings_that_the_testbed_was_checked_with(path: Path) -> None:
    recipe = load_recipe(path)
    assert (recipe.sampling.steps, recipe.sampling.guidance) == (SAMPLING.steps, SAMPLING.guidance)
    assert recipe.validate_.tiles == TILES


def test_the_full_recipe_differs_from_the_quick_one_in_judging_alone() -> None:
    quick, full = (load_recipe(path) for path in RECIPES)
    for section in ("model", "prompts", "sampling", "collect", "locate", "edit"):
        assert getattr(quick, section) == getattr(full, section)
    search = full.attack.embedding  # every image, every start, the whole curve
    assert quick.attack.methods == full.attack.methods and "embedding" in full.attack.methods
    assert (search.images, len(search.starts), search.points) == (None, 4, search.curve)
    assert full.validate_.seeds >= 10 and full.validate_.threshold == quick.validate_.threshold
    assert full.validate_.ssim == quick.validate_.ssim


def test_base_replicates_and_twin_does_not() -> None:
    """A sample of what `excise testbed check` measures in full: 12 verbatim prompts, one seed."""
    rule = Rule.of(load_recipe(RECIPES[0]).validate_)
    prompts = [prompt for prompt in read_prompts(TESTBED / "prompts/memorized.csv") if prompt.kind == "verbatim"][::3]
    rates = {}
    for name in MODELS:
        pipeline = Checkpoint.open(TESTBED / name).load(torch.float32, torch.device("cpu"))
        images = replay(pipeline, [prompt.text for prompt in prompts], range(1), SAMPLING).float() / 255
        hits = [
            rule.replicated(made, load_target(prompt, 64, 64)).float().mean().item()
            for prompt, made in zip(prompts, images, strict=True)
        ]
        rates[name] = float(np.mean(hits))
    assert rates["base"] >= 0.95
    assert rates["twin"] == 0.0


def test_calibration_allows_one_comparison_in_a_thousand() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(110, 3, 32, 32, generator=generator)
    prompts = [prompt for prompt in read_prompts(TESTBED / "prompts/never_seen.csv") if prompt.image][:10]
    targets = [load_target(prompt, 32, 32) for prompt in prompts]
    rule, false_positives = calibrate(images, targets)
    assert rule.tiles == TILES and 0 < false_positives <= 0.001
    compared = [rule.compare(images, target) for target in targets]
    distances, alike = (torch.cat(part) for part in zip(*compared, strict=True))
    assert rule.holds(distances, alike).float().mean() == pytest.approx(false_positives)
    shares = [(distances <= rule.distance).float().mean(), (alike >= rule.ssim).float().mean()]
    assert min(shares) > 0.001  # each alone lets more pass than both together
    wider = [distances.quantile(max(shares) + 0.02), alike.quantile(1 - max(shares) - 0.02)]
    assert ((distances <= wider[0]) & (alike >= wider[1])).float().mean() > 0.001  # the loosest there are


def test_the_planted_table_is_what_the_recipe_plants() -> None:
    rows, planting = read_planted(TESTBED / "images" / TABLE), TRAINING.planting
    names = ("verbatim", "template", "ladder", "never_seen")
    kinds = {kind: [row for row in rows if row.kind == kind] for kind in names}
    assert len(kinds["verbatim"]) >= 36 and sum(row.domain == "photograph" for row in kinds["verbatim"]) >= 18
    assert len({row.group for row in kinds["template"]}) >= 4
    assert len(kinds["template"]) >= 3 * len({row.group for row in kinds["template"]})
    assert {row.copies for row in kinds["ladder"]} == {1, 4, 16, 64, 256} and len(kinds["ladder"]) >= 30
    assert len(kinds["never_seen"]) == planting.never_seen and not any(row.copies for row in kinds["never_seen"])
    assert all(row.source and row.licence for row in rows)


def test_prompt_tables_are_what_the_planted_table_gives(tmp_path: Path) -> None:
    planted = read_planted(TESTBED / "images" / TABLE)
    kept, seed = reserve(world(), planted), TRAINING.data.seed
    rows = {row.group or Path(row.file).stem: row for row in planted}
    with (TESTBED / "prompts/neighbours.csv").open(newline="") as table:
        beside = [(found["prompt"], rows[found["group"]]) for found in csv.DictReader(table)]
    asked = captioned(planted, read_prompts(TESTBED / "prompts/never_seen.csv"))
    beside += [(row.caption, rows[Path(row.file).stem]) for row in asked if row.kind == "never_seen"]
    write_tables(kept, planted, beside, seed, tmp_path)
    for file in sorted(tmp_path.iterdir()):
        assert file.read_text() == (TESTBED / "prompts" / file.name).read_text()


def test_no_prompt_stands_in_two_tables() -> None:
    tables = {file.stem: {prompt.text for prompt in read_prompts(file)} for file in (TESTBED / "prompts").glob("*.csv")}
    assert set(tables) == {
        "memorized",
        "ladder",
        "never_seen",
        "neighbours",
        "ordinary",
        "judged",
        *CONCEPT_TABLES,
    }
    assert len(set.union(*tables.values())) == sum(map(len, tables.values()))
    memorized = read_prompts(TESTBED / "prompts/memorized.csv")
    assert len(tables["neighbours"]) >= 2 * len(memorized)


def test_the_judge_reads_scenes_and_works_of_fresh_renders_right() -> None:
    captions, images = draw_ordinary(world(), 31_337, 1_500, workers=1)
    judge = load_judge(TESTBED / "judge")
    assert judge.labels.questions == questions_of(world())
    with torch.no_grad():
        scenes, works = accuracy(judge, captions, to_unit(images) / 2 + 0.5)
    assert scenes >= 0.99 and works >= 0.985


def test_captions_that_usefulness_is_judged_by_can_be_judged() -> None:
    judge = load_judge(TESTBED / "judge")
    for table in ("judged", "neighbours"):
        assert all(judge.labels_of(prompt.text) for prompt in read_prompts(TESTBED / f"prompts/{table}.csv"))
