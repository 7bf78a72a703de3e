"""What every attack must do, whichever it is, in each of its ways."""

from __future__ import annotations

import inspect
from contextlib import closing
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from diffusers import DiffusionPipeline

from excise.attacks import ATTACKS, Attack, Budget, Found, Target, attack
from excise.checkpoint import Checkpoint
from excise.measures.replication import load_target
from excise.prompts.questions import questions_of
from excise.prompts.sets import prompt_sets
from excise.recipe import Attack as Section
from excise.recipe import Recipe, Sampling, Search
from tests.attacks.shout import Loudness

SAMPLING = Sampling(steps=2, batch=3)
SMALL: dict[str, Any] = {
    "steps": 2,
    "curve": (1,),
    "samples": 2,
    "proposals": 2,
    "guidance": (5.0,),
    "other_steps": (3,),
    "strengths": (0.7,),
}
"""What makes a search quick, of the keys that its section has."""


def section(name: str) -> Search | None:
    """The section of an attack, at its defaults but for its size."""
    found = Loudness() if name == "shout" else Section().settings(name)
    own = type(found).model_fields if found else {}
    return found.model_copy(update={key: value for key, value in SMALL.items() if key in own}) if found else None


def ways(name: str) -> tuple[str, ...]:
    found = section(name)
    return found.variants if found else ("",)


WAYS = [(name, variant) for name in (*ATTACKS, "shout") for variant in ways(name)]


@pytest.fixture(autouse=True)
def shouting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own attack is one of them."""
    monkeypatch.setitem(ATTACKS, "shout", "tests.attacks.shout")


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> DiffusionPipeline:
    return Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))


@pytest.fixture(scope="module")
def targets(tiny_recipe: Recipe) -> list[Target]:
    """Memorized prompts with their images, located and held out, of both kinds."""
    questions = questions_of(prompt_sets(tiny_recipe)).items()
    prompts = [prompt for asked, prompts in questions if asked.memorized for prompt in prompts[:2]]
    images = [load_target(prompt, 64, 64).image for prompt in prompts]
    alone = [Target(prompt, image) for prompt, image in zip(prompts, images, strict=True)]
    return [Target(one.prompt, one.image, alone[i - 4]) for i, one in enumerate(alone)]


def drawn(
    name: str, pipeline: DiffusionPipeline, targets: list[Target], budget: Budget, seeds: tuple[int, ...] = (5, 6)
) -> dict[int, torch.Tensor]:
    """What is drawn at each point, as a trial does it."""
    chosen, images = attack(name), {}
    with closing(chosen.find(pipeline, targets, budget)) as search:
        for found in search:
            pairs = [(trigger, seed) for trigger in found.triggers for seed in seeds]
            images[found.steps] = chosen.draw(pipeline, pairs, SAMPLING)
    return images


@pytest.mark.parametrize("name", [*ATTACKS, "shout"])
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


@pytest.mark.parametrize(("name", "variant"), WAYS)
def test_it_yields_one_trigger_for_each_target_in_order_at_each_point(
    name: str, variant: str, pipeline: DiffusionPipeline, targets: list[Target]
) -> None:
    assert len(targets) == 8 and all(target.image is not None for target in targets)
    budget = Budget.of(section(name), variant, SAMPLING)
    found: list[Found] = []
    with closing(attack(name).find(pipeline, targets[:3], budget)) as search:
        for one in search:
            assert [trigger.target for trigger in one.triggers] == [target.prompt for target in targets[:3]]
            found.append(one)
    assert tuple(one.steps for one in found) == budget.points
    assert all(len(one.triggers) == 0 for one in attack(name).find(pipeline, [], budget))


@pytest.mark.parametrize(("name", "variant"), WAYS)
def test_what_it_draws_depends_on_no_other_target_and_on_no_other_seed(
    name: str, variant: str, pipeline: DiffusionPipeline, targets: list[Target]
) -> None:
    budget = Budget.of(section(name), variant, SAMPLING)
    together, alone = (drawn(name, pipeline, chosen, budget) for chosen in (targets[:3], targets[1:2]))
    assert together.keys() == alone.keys() == set(budget.points)
    for point, images in together.items():
        assert images.shape == (6, 3, 64, 64) and images.dtype == torch.uint8 and images.device.type == "cpu"
        assert len({image.numpy().tobytes() for image in images}) == 6
        assert (images[2:4].int() - alone[point].int()).abs().max() <= 2
    again = drawn(name, pipeline, targets[:3], budget, seeds=(6, 5))
    for point, images in again.items():
        assert (images.view(3, 2, -1).flip(1).int() - together[point].view(3, 2, -1).int()).abs().max() <= 1


@pytest.mark.parametrize(("name", "variant"), WAYS)
@pytest.mark.parametrize("points", [None, 1])
def test_it_leaves_the_model_as_it_is_even_when_it_is_stopped(
    name: str,
    variant: str,
    points: int | None,
    pipeline: DiffusionPipeline,
    targets: list[Target],
    tiny_checkpoint: Path,
) -> None:
    with closing(attack(name).find(pipeline, targets[:1], Budget.of(section(name), variant, SAMPLING))) as search:
        for _, found in zip(range(points or 99), search, strict=False):
            attack(name).draw(pipeline, [(found.triggers[0], 0)], SAMPLING)
    untouched = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    for part in ("unet", "text_encoder", "vae"):
        network, other = getattr(pipeline, part), getattr(untouched, part)
        before, after = other.state_dict(), network.state_dict()
        assert after.keys() == before.keys() and all(torch.equal(after[tensor], before[tensor]) for tensor in before)
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in network.modules())
        assert not any(value.requires_grad for value in network.parameters()) and not network.training


def test_randomness_is_the_targets_own_and_never_that_of_an_edits_search(targets: list[Target]) -> None:
    budgets = [
        Budget.of(Search(seed=seed), variant, purpose=purpose)
        for seed in (0, 1)
        for variant in ("", "empty")
        for purpose in ("judging", "editing")
    ]
    keys = {budget.key(target) for budget in budgets for target in targets}
    assert len(keys) == 64 and all(0 <= key < 2**63 for key in keys)
