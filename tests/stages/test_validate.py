import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from excise.errors import ExciseError
from excise.job.preflight import check_instruments
from excise.prompts.sets import Prompt, PromptSets, prompt_sets
from excise.recipe import Recipe, Verdict
from excise.stages import attack, collect, edit, locate, rank, validate
from excise.testbed.judge import JUDGE_FILE, Judge
from excise.trial.images import arms_of, attacked_sets, blocks_of

THRESHOLD = 0.386
"""In the middle of the distances of random pictures to what a random model draws, so that some replicate."""


@pytest.fixture(scope="module")
def judged_recipe(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The tiny recipe with an untrained judge and the base as its own twin, few steps."""
    judge = tmp_path_factory.mktemp("judge")
    torch.manual_seed(0)
    save_file(Judge().state_dict(), judge / JUDGE_FILE)
    return tiny_recipe.model_copy(
        update={
            "model": tiny_recipe.model.model_copy(update={"twin": tiny_recipe.model.path}),
            "sampling": tiny_recipe.sampling.model_copy(update={"steps": 3, "batch": 8}),
            "validate_": tiny_recipe.validate_.model_copy(update={"judge": judge, "threshold": THRESHOLD}),
        }
    )


@pytest.fixture(scope="module")
def run_folder(judged_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with every stage up to validate."""
    folder = tmp_path_factory.mktemp("run")
    sets = prompt_sets(judged_recipe)
    for stage in (collect, rank, locate, edit, attack, validate):
        stage.run(judged_recipe, sets, folder)
    return folder


@pytest.fixture(scope="module")
def verdict(run_folder: Path) -> dict:
    return json.loads((run_folder / "verdict.json").read_text())


def test_every_arm_is_tried_on_every_set(verdict: dict):
    assert list(verdict["arms"]) == ["base", "edited", "twin", "random-1"]
    memorized = {"located_verbatim", "located_template", "held_out_verbatim", "held_out_template"}
    assert set(verdict["arms"]["base"]["sets"]) == memorized | {"never_seen"}
    assert set(verdict["arms"]["edited"]["sets"]) == memorized | {"never_seen"}
    assert set(verdict["arms"]["twin"]["sets"]) == set(verdict["arms"]["random-1"]["sets"]) == memorized
    assert verdict["arms"]["edited"]["entries_zeroed"] == verdict["arms"]["random-1"]["entries_zeroed"] > 0


def test_every_rate_has_its_interval(verdict: dict):
    def walk(value: object) -> None:
        if isinstance(value, dict):
            for name, interval in (
                ("memorization_rate", "interval"),
                ("images_ever_replicated", "images_ever_replicated_interval"),
                ("rate", "interval"),
                ("value", "interval"),
                ("false_positive_rate", "interval"),
            ):
                if isinstance(value.get(name), float) and "tiles" not in value:
                    if value[interval] is None:
                        assert name == "value"  # no rate, and a single template: nothing to resample
                        continue
                    low, high = value[interval]
                    assert low <= value[name] <= high
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(verdict["arms"])
    walk(verdict["checks"])
    walk(verdict["threshold"])


def test_models_start_from_the_same_noise(run_folder: Path, verdict: dict):
    """The twin is the base here, so image by image it must give the same."""
    for key in ("located_verbatim", "judged"):
        base, twin, edited = (
            load_file(run_folder / "images" / f"{arm}.{key}.safetensors")["images"].int()
            for arm in ("base", "twin", "edited")
        )
        assert (base - twin).abs().max() <= 1
        assert (base - edited).abs().max() > 1
    assert verdict["arms"]["twin"]["drift"]["value"] < 1e-3
    assert verdict["arms"]["twin"]["agreement"]["drop"]["value"] == 0.0
    assert verdict["arms"]["base"]["agreement"]["drop"] is None


def test_measures_of_each_image_give_the_rates(run_folder: Path, verdict: dict):
    measures = json.loads((run_folder / "measures.json").read_text())
    rates = {s["memorization_rate"] for arm in verdict["arms"].values() for s in arm["sets"].values()}
    assert len(rates) > 2
    for arm, found in verdict["arms"].items():
        for key, summary in found["sets"].items():
            distance = np.array(measures["arms"][arm][key]["distance"])
            assert (
                distance.shape == (summary["prompts"], summary["seeds"]) == (len(measures["sets"][key]["prompts"]), 2)
            )
            assert summary["memorization_rate"] == pytest.approx((distance <= THRESHOLD).mean(), abs=1e-6)
            assert summary["images_ever_replicated"] == pytest.approx(
                (distance <= THRESHOLD).any(axis=1).mean(), abs=1e-6
            )


def test_pictures_are_tied_to_the_numbers(run_folder: Path, verdict: dict):
    assert set(verdict["images"]) == {file.name for file in (run_folder / "images").glob("*.safetensors")}
    assert all(len(digest) == 64 for digest in verdict["images"].values())
    assert "random-1.judged.safetensors" in verdict["images"]


def test_a_killed_attack_resumes_and_gives_the_same(
    run_folder: Path, judged_recipe: Recipe, verdict: dict, tmp_path: Path
):
    for name in ("edited", "subspace.safetensors"):
        source = run_folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    sets = prompt_sets(judged_recipe)
    attack.run(judged_recipe, sets, tmp_path)
    made = {file.name: file.read_bytes() for file in (tmp_path / "images").glob("*.safetensors")}
    shutil.rmtree(tmp_path / "images")
    partial = tmp_path / "partial" / "attack"
    blocks = [
        block.stored(partial)
        for block in blocks_of(judged_recipe, attacked_sets(sets), arms_of(judged_recipe, tmp_path))
    ]
    assert blocks and all(file.exists() for file in blocks)
    for file in blocks[1::2]:
        file.unlink()
    kept = {file: file.stat().st_mtime_ns for file in blocks[::2]}
    for stage in (attack, validate):
        stage.run(judged_recipe, sets, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert {file.name: file.read_bytes() for file in (tmp_path / "images").glob("*.safetensors")} == made
    again = json.loads((tmp_path / "verdict.json").read_text())
    for arm, found in again["arms"].items():
        assert found["sets"] == verdict["arms"][arm]["sets"]
    assert again["images"] == verdict["images"]


def test_without_a_judge_agreement_is_not_measured_and_refuses(run_folder: Path, judged_recipe: Recipe, tmp_path: Path):
    for name in ("edited", "subspace.safetensors"):
        source = run_folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    shutil.copytree(run_folder / "images", tmp_path / "images")
    loose = {name: 1.0 for name in Verdict.model_fields if name != "base_replication"}
    limits = Verdict.model_validate(loose | {"base_replication": 0.0, "drift": 100.0})
    recipe = judged_recipe.model_copy(
        update={"validate_": judged_recipe.validate_.model_copy(update={"judge": None}), "verdict": limits}
    )
    validate.run(recipe, prompt_sets(recipe), tmp_path)
    found = json.loads((tmp_path / "verdict.json").read_text())
    assert found["arms"]["edited"]["agreement"] is None
    assert not found["accepted"]
    assert len(found["reasons"]) == 1 and "not measured" in found["reasons"][0]


def test_what_is_not_held_out_decides_nothing_before_validate(judged_recipe: Recipe, run_folder: Path, tmp_path: Path):
    """Locating without the prompts that only judge gives the same bytes."""
    sets = prompt_sets(judged_recipe)
    assert sets.held_out and sets.judged and sets.never_seen
    blind = dataclasses.replace(sets, held_out=(), judged=(), never_seen=())
    for stage in (collect, rank, locate):
        stage.run(judged_recipe, blind, tmp_path)
    for name in ("statistics.safetensors", "subspace.safetensors", "subspace.json"):
        assert (tmp_path / name).read_bytes() == (run_folder / name).read_bytes()


def test_what_cannot_measure_is_found_before_any_work(judged_recipe: Recipe, tmp_path: Path):
    sets = prompt_sets(judged_recipe)
    check_instruments(judged_recipe.validate_, sets)
    for key, message in (("judge", "no judge"), ("sscd", "no such file")):
        with pytest.raises(ExciseError, match=message):
            check_instruments(judged_recipe.validate_.model_copy(update={key: tmp_path / "none"}), sets)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    faulty = dataclasses.replace(sets, held_out=(Prompt("a broken picture", broken),))
    with pytest.raises(ExciseError, match=r"broken\.png"):
        check_instruments(judged_recipe.validate_, faulty)


def _sets(located: list[Prompt], held_out: list[Prompt]) -> PromptSets:
    return PromptSets((tuple(located),), tuple(held_out), (), (), (Prompt("ordinary"),), ())


def test_a_prompt_on_both_sides_is_refused():
    with pytest.raises(ValueError, match="used to locate"):
        attacked_sets(_sets([Prompt("a")], [Prompt("a")]))


def test_prompts_without_an_image_are_not_attacked_and_kinds_stay_apart(tmp_path: Path):
    picture = tmp_path / "x.png"
    with_image, template = Prompt("a", picture), Prompt("c", picture, kind="template")
    plan = attacked_sets(_sets([with_image, Prompt("b")], [template]))
    assert plan == {
        "located_verbatim": (with_image,),
        "held_out_template": (template,),
        "judged": (Prompt("ordinary"),),
    }
    with pytest.raises(ExciseError, match="'ladder'"):
        attacked_sets(_sets([Prompt("a", kind="ladder")], []))
