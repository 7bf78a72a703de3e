"""A new attack is one file and one line: the whole job runs with it, and measures what it draws."""

from __future__ import annotations

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
from excise.recipe import Attack, Recipe, Section
from excise.run.images import read_prompt, stored
from excise.run.layout import Run
from excise.run.results import read_measures, read_verdict
from tests.conftest import changed

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    """The tiny job with the tests' own attack beside replay, on few images."""
    quick = changed(changed(tiny_recipe, "validate_", seeds=1, threshold=0.386), "sampling", steps=3)
    return changed(changed(quick, "locate", evidence=False), "attack", methods=("replay", "shout"))


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ATTACKS, "shout", "tests.attacks.shout")  # the one line
        return run_job(recipe, tmp_path_factory.mktemp("runs") / "shout", say=lambda _: None)


def test_every_model_is_attacked_and_what_it_draws_is_stored_under_the_attacks_name(recipe: Recipe, run: Run) -> None:
    asked = [found.key for found in questions_of(prompt_sets(recipe)) if found.key != "judged"]
    expected = {f"{model}.{key}.safetensors" for model in ("base", "edited") for key in asked}
    expected |= {f"random-1.{key}.safetensors" for key in asked if key != "never_seen"}
    assert {file.name for file in (run.images / "shout").iterdir()} == expected
    pictures = excise.open_run(run.folder).images("edited", "held_out_verbatim", attack="shout")
    assert len(pictures) == 4 and pictures[0][0].size == (64, 64)


def test_the_noise_is_that_of_the_targets_own_prompt(recipe: Recipe, run: Run) -> None:
    asked = question("held_out_verbatim")
    prompt = questions_of(prompt_sets(recipe))[asked][0]
    pipeline = Checkpoint.open(recipe.model.path).load(torch.float32, torch.device("cpu"))
    key = noise_key(prompt.text, recipe.validate_.seed)
    expected = denoise(pipeline, [f"{prompt.text} loud"], [key], recipe.sampling)[0]
    drawn = read_prompt(stored(run.images, "shout", "base", asked), 0)[0]
    assert (drawn.int() - (expected * 255).round().int()).abs().max() <= 1
    assert not torch.equal(drawn, read_prompt(stored(run.images, "replay", "base", asked), 0)[0])


def test_its_replications_stand_in_the_verdict_beside_replays(recipe: Recipe, run: Run) -> None:
    verdict, measures = read_verdict(run), read_measures(run)
    rule = Rule.of(recipe.validate_)
    sets = questions_of(prompt_sets(recipe))
    for name, model in verdict.models.items():
        assert model.other_attacks.keys() == {"shout"} and model.other_attacks["shout"].keys() == model.sets.keys()
        for key, found in model.other_attacks["shout"].items():
            drawn = [read_prompt(stored(run.images, "shout", name, question(key)), i) for i in range(found.prompts)]
            hits = [
                rule.replicated(images / 255.0, load_target(prompt, 64, 64)).float().mean().item()
                for images, prompt in zip(drawn, sets[question(key)], strict=True)
            ]
            assert found.memorization_rate == pytest.approx(sum(hits) / len(hits))
            assert len(measures.models[name].other_attacks["shout"][key].distance) == found.prompts
    assert any(model.other_attacks["shout"] != model.sets for model in verdict.models.values())
    assert NEVER_SEEN.key in verdict.base.other_attacks["shout"]
    assert {name.split("/")[0] for name in verdict.images} == {"replay", "shout"}


def test_a_job_without_it_says_nothing_of_it(run: Run, recipe: Recipe) -> None:
    plain = json.loads(run.verdict.read_text())
    assert plain["settings"]["attack"]["methods"] == ["replay", "shout"]
    for model in plain["models"].values():
        del model["other_attacks"]
    read = type(read_verdict(run)).model_validate_json(json.dumps(plain))
    assert all(model.other_attacks == {} for model in read.models.values())


def test_its_section_of_the_recipe_is_its_budget(recipe: Recipe) -> None:
    class Loudness(Section):
        steps: int = 3

    class More(Attack):
        shout: Loudness = Loudness()

    assert Budget.of(recipe.attack.settings("shout")) == Budget()
    assert Budget.of(More().settings("shout")) == Budget(steps=3, settings=Loudness())


@pytest.mark.parametrize("methods", [("replay", "replay"), ()])
def test_each_attack_is_made_once_and_replay_always(methods: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="methods"):
        Attack.model_validate({"methods": methods})
