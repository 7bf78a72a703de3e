"""A new attack is one file and one line: the whole job runs with it, and measures what it draws."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from pydantic import ValidationError

import excise
from excise.attacks import ATTACKS, Budget
from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import denoise, noise_key
from excise.job.runner import run_job
from excise.measures.replication import Rule, load_target
from excise.prompts.questions import NEVER_SEEN, question, questions_of
from excise.prompts.sets import prompt_sets
from excise.recipe import Attack, Recipe
from excise.release.search_faults import search_faults
from excise.run.images import read_prompt, read_triggers, stored
from excise.run.layout import Run
from excise.run.results import read_measures, read_verdict
from excise.trial.rounds import rounds_of
from tests.attacks.shout import ADDED, Loudness
from tests.conftest import changed

pytestmark = pytest.mark.e2e


class More(Attack):
    """``[attack]`` with the section of the tests' own attack."""

    shout: Loudness = Loudness()


class Wider(Recipe):
    """A recipe that has it."""

    attack: More = More()


KEYS = ("shout/and/1", "shout/and/2", "shout/so/1", "shout/so/2")


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    """The tiny job with the tests' own attack beside replay, on few images."""
    quick = changed(changed(tiny_recipe, "validate_", seeds=1, threshold=0.386), "sampling", steps=3)
    quick = changed(quick, "locate", evidence=False)
    sections = {info.alias or name: getattr(quick, name) for name, info in Recipe.model_fields.items()}
    return changed(Wider(**sections | {"attack": More()}), "attack", methods=("replay", "shout"))


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ATTACKS, "shout", "tests.attacks.shout")  # the one line
        return run_job(recipe, tmp_path_factory.mktemp("runs") / "shout", say=lambda _: None)


def test_what_is_drawn_is_stored_by_attack_way_and_point(recipe: Recipe, run: Run) -> None:
    asked = [found.key for found in questions_of(prompt_sets(recipe)) if found.key != "judged"]
    drawn = {(model, key) for model in ("base", "edited") for key in asked} - {("base", NEVER_SEEN.key)}
    expected = {f"{model}.{key}.safetensors" for model, key in drawn}
    assert [key for found in rounds_of(recipe) for key in found.keys] == ["replay", *KEYS]
    for key in KEYS:
        assert {file.name for file in (run.images / key).iterdir()} == expected | {"triggers.json"}
    pictures = excise.open_run(run.folder).images("edited", "held_out_verbatim", attack=KEYS[0])
    assert len(pictures) == 3 and len(pictures[0]) == 2 and pictures[0][0].size == (64, 64)


def test_the_images_are_of_the_trigger_the_noise_and_the_model_of_that_moment(recipe: Recipe, run: Run) -> None:
    asked = question("held_out_verbatim")
    prompt = questions_of(prompt_sets(recipe))[asked][0]
    pipeline = Checkpoint.open(recipe.model.path).load(torch.float32, torch.device("cpu"))
    first, pictures = next(pipeline.unet.parameters()), []
    before = first.clone()
    for key, words, steps in (("shout/and/1", "and loud", 1), ("shout/so/2", "so so loud", 2)):
        with torch.no_grad():
            first.copy_(before + ADDED * steps)
        noise = noise_key(prompt.text, recipe.validate_.seed + 1)
        expected = denoise(pipeline, [f"{prompt.text} {words}"], [noise], recipe.sampling)[0]
        pictures.append(read_prompt(stored(run.images, key, "base", asked), 0)[1])
        assert (pictures[-1].int() - (expected * 255).round().int()).abs().max() <= 1
        assert read_triggers(run.images, key)["base"]["held_out_verbatim"][0] == f"{prompt.text} {words}"
    assert not torch.equal(*pictures)
    assert read_triggers(run.images, "replay") == {}


def test_its_replications_stand_in_the_verdict_beside_replays(recipe: Recipe, run: Run) -> None:
    verdict, measures = read_verdict(run), read_measures(run)
    rule = Rule.of(recipe.validate_)
    sets = questions_of(prompt_sets(recipe))
    assert verdict.models["random-1"].other_attacks == {key: {} for key in KEYS}  # tells no more than the base
    for name, model in verdict.models.items():
        assert model.other_attacks.keys() == set(KEYS)
        for attack, found in [(key, found) for key in KEYS for found in model.other_attacks[key].items()]:
            key, rates = found
            assert rates.prompts == min(3, len(sets[question(key)])) and rates.seeds == 2
            drawn = [read_prompt(stored(run.images, attack, name, question(key)), i) for i in range(rates.prompts)]
            hits = [
                rule.replicated(images / 255.0, load_target(prompt, 64, 64)).float().mean().item()
                for images, prompt in zip(drawn, sets[question(key)], strict=False)
            ]
            assert rates.memorization_rate == pytest.approx(sum(hits) / len(hits), abs=1e-6)
            assert len(measures.models[name].other_attacks[attack][key].distance) == rates.prompts
    for name, without in (("base", {NEVER_SEEN.key}), ("edited", set())):
        assert verdict.models[name].other_attacks[KEYS[0]].keys() == verdict.models[name].sets.keys() - without
    assert set(verdict.attacks) == {"replay", *KEYS} and verdict.attacks[KEYS[3]].steps == 2
    assert {row.set for row in verdict.attacked} == set(verdict.base.sets)
    assert len(verdict.comparisons) == 4 * 4 and {one.against for one in verdict.comparisons} == {"never_seen"}
    assert verdict.fate in ("not searched", "still there")  # it has no check of its own
    images = json.loads(run.certificate.read_text())["images"]
    assert len(images) == len(verdict.certificates) == 12
    prompts = sets[question(images[0]["set"])]
    assert images[0]["sha256"] == hashlib.sha256(prompts[0].image.read_bytes()).hexdigest()
    assert list(search_faults(verdict, recipe)) == []
    forged = verdict.attacked[0].model_copy(
        update={"hits": verdict.attacked[0].hits | {KEYS[0]: {"base": 9, "edited": 9}}}
    )
    forged_verdict = verdict.model_copy(update={"attacked": (forged, *verdict.attacked[1:])})
    assert any("more images than were drawn" in fault for fault in search_faults(forged_verdict, recipe))
    assert {name.rpartition("/")[0] for name in verdict.images} == {"replay", *KEYS}


def test_a_job_without_it_says_nothing_of_it(run: Run, recipe: Recipe) -> None:
    plain = json.loads(run.verdict.read_text())
    assert plain["settings"]["attack"]["methods"] == ["replay", "shout"]
    for model in plain["models"].values():
        del model["other_attacks"]
    read = type(read_verdict(run)).model_validate_json(json.dumps(plain))
    assert all(model.other_attacks == {} for model in read.models.values())


def test_its_section_of_the_recipe_is_its_budget(recipe: Recipe) -> None:
    assert Budget.of(recipe.attack.settings("replay")) == Budget()
    budget = Budget.of(Loudness(steps=50, curve=(1, 10, 200)), "so")
    assert (budget.points, budget.steps, budget.variant) == ((1, 10, 50), 50, "so")


@pytest.mark.parametrize("methods", [("replay", "replay"), ()])
def test_each_attack_is_made_once_and_replay_always(methods: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="methods"):
        Attack.model_validate({"methods": methods})
