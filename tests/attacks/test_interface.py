"""What every attack must do, whichever it is."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from diffusers import DiffusionPipeline

from excise.attacks import ATTACKS, Attack, Budget, attack
from excise.checkpoint import Checkpoint
from excise.prompts.prompt import Prompt
from excise.prompts.questions import questions_of
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe, Sampling

BUDGET, SAMPLING = Budget(steps=2), Sampling(steps=2, batch=3)


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> DiffusionPipeline:
    return Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))


@pytest.fixture(scope="module")
def targets(tiny_recipe: Recipe) -> list[Prompt]:
    """Memorized prompts with their images, located and held out, of both kinds."""
    questions = questions_of(prompt_sets(tiny_recipe)).items()
    return [prompt for asked, prompts in questions if asked.memorized for prompt in prompts[:2]]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_has_the_protocols_signature(name: str) -> None:
    for method in ("find", "draw"):
        given, asked = getattr(attack(name), method), getattr(Attack, method)
        expected = list(inspect.signature(asked).parameters.values())[1:]  # without self
        found = list(inspect.signature(given).parameters.values())
        assert [(p.name, p.kind, p.default) for p in found] == [(p.name, p.kind, p.default) for p in expected]
        assert get_type_hints(given) == get_type_hints(asked)


def test_an_unknown_attack_is_no_attack() -> None:
    with pytest.raises(KeyError, match="persuasion"):
        attack("persuasion")


@pytest.mark.parametrize("name", ATTACKS)
def test_it_finds_one_trigger_for_each_target_in_order(
    name: str, pipeline: DiffusionPipeline, targets: list[Prompt]
) -> None:
    assert len(targets) == 8 and all(target.image for target in targets)
    triggers = attack(name).find(pipeline, targets, BUDGET)
    assert [trigger.target for trigger in triggers] == targets
    assert attack(name).find(pipeline, [], BUDGET) == []
    for trigger, target in zip(triggers, targets, strict=True):  # alone as in company
        assert attack(name).find(pipeline, [target], BUDGET) == [trigger]


@pytest.mark.parametrize("name", ATTACKS)
def test_it_draws_one_image_for_each_trigger_and_seed(
    name: str, pipeline: DiffusionPipeline, targets: list[Prompt]
) -> None:
    triggers = attack(name).find(pipeline, targets[:2], BUDGET)
    pairs = [(trigger, seed) for trigger in triggers for seed in (5, 6)]
    images = attack(name).draw(pipeline, pairs, SAMPLING)
    assert images.shape == (4, 3, 64, 64) and images.dtype == torch.uint8 and images.device.type == "cpu"
    assert len({image.numpy().tobytes() for image in images}) == 4
    assert torch.equal(images, attack(name).draw(pipeline, pairs, SAMPLING))
    backwards = attack(name).draw(pipeline, pairs[::-1], SAMPLING).flip(0)
    assert (images.int() - backwards.int()).abs().max() <= 1


@pytest.mark.parametrize("name", ATTACKS)
def test_it_leaves_the_model_as_it_is(
    name: str, pipeline: DiffusionPipeline, targets: list[Prompt], tiny_checkpoint: Path
) -> None:
    attack(name).draw(pipeline, [(attack(name).find(pipeline, targets[:1], BUDGET)[0], 0)], SAMPLING)
    untouched = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    for part in ("unet", "text_encoder", "vae"):
        network, other = getattr(pipeline, part), getattr(untouched, part)
        before, after = other.state_dict(), network.state_dict()
        assert after.keys() == before.keys() and all(torch.equal(after[tensor], before[tensor]) for tensor in before)
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in network.modules())
        assert not any(value.requires_grad for value in network.parameters()) and not network.training
