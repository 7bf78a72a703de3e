"""Revival of zeros: what is zero gets another value for as long as images are drawn, and nothing else does."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.attacks import replay
from excise.attacks.base import Budget, Target, Trigger
from excise.attacks.revive import draw, find
from excise.checkpoint import Checkpoint
from excise.diffusion.load import denoiser
from excise.diffusion.sites import FAMILIES, all_sites, find_sites
from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.recipe import Revive, Sampling
from tests.diffusion.pipelines import FAMILIES as PIPELINES
from tests.diffusion.pipelines import save

TARGETS = [Target(Prompt("a pile of old coins")), Target(Prompt("a page of printed text"))]
SETTINGS = Revive(steps=2, rounds=3)
SAMPLING = Sampling(steps=2)


def zeroed(pipeline: DiffusionPipeline) -> dict[str, Tensor]:
    """Take a third of the entries of every site of two families; their weights then."""
    network = denoiser(pipeline)
    generator = torch.Generator().manual_seed(0)
    for site in find_sites(network):
        part = site.matrix(network.get_parameter(site.tensor).data)
        part[torch.rand(part.shape, generator=generator) < 0.3] = 0.0
        part[:, 1] = 0.0  # and a whole neuron
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("family", "variant"),
    [*((family, "least_squares") for family in PIPELINES), ("sd14", "rows"), ("flux", "neighbours")],
)
def test_zeros_alone_change_and_only_for_as_long_as_it_lasts(family: str, variant: str, tmp_path: Path) -> None:
    pipeline = Checkpoint.open(save(family, tmp_path / family)).load(torch.float32, torch.device("cpu"))
    before = zeroed(pipeline)
    network = denoiser(pipeline)
    with closing(find(pipeline, TARGETS, Budget.of(SETTINGS, variant))) as search:
        found = next(search)
        during = {name: value.clone() for name, value in network.state_dict().items()}
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    filled, changed = 0, set()
    for site in find_sites(network):
        old, new = site.matrix(before[site.tensor]), site.matrix(during[site.tensor])
        assert torch.equal(old[old != 0], new[old != 0]) and new.isfinite().all()
        gaps = torch.ones_like(old, dtype=torch.bool)
        gaps[:, 1] = variant != "least_squares"  # of a neuron without any entry a fit can say nothing
        assert (new[gaps] != 0).all()
        filled += int((old == 0).sum())
        changed.add(site.tensor)
        outside = torch.ones(before[site.tensor].flatten(1).shape[1], dtype=torch.bool)
        outside[site.first : site.first + site.neurons] = False
        assert torch.equal(before[site.tensor].flatten(1)[:, outside], during[site.tensor].flatten(1)[:, outside])
    assert all(torch.equal(during[name], before[name]) for name in before.keys() - changed)
    assert all(f"{filled:,} zeros filled with" in trigger.text for trigger in found.triggers)


def test_its_images_are_those_of_the_captions_on_the_filled_model(tiny_checkpoint: Path) -> None:
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    zeroed(pipeline)
    texts = [target.prompt.text for target in TARGETS]
    plain = replay.replay(pipeline, texts, [3], SAMPLING)[:, 0]
    with closing(find(pipeline, TARGETS, Budget.of(SETTINGS, "neighbours"))) as search:
        found = next(search)
        during = draw(pipeline, [(trigger, 3) for trigger in found.triggers], SAMPLING)
        assert torch.equal(during, replay.replay(pipeline, texts, [3], SAMPLING)[:, 0])
    assert (during.int() - plain.int()).abs().max() > 2


def test_a_model_without_zeros_is_replayed_as_it_is_and_told(tiny_checkpoint: Path) -> None:
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    plain = replay.draw(pipeline, [(Trigger(t.prompt, t.prompt.text), 3) for t in TARGETS], SAMPLING)
    for variant in SETTINGS.variants:
        with closing(find(pipeline, TARGETS, Budget.of(SETTINGS, variant))) as search:
            found = next(search)
            assert torch.equal(draw(pipeline, [(trigger, 3) for trigger in found.triggers], SAMPLING), plain)
        assert found.triggers[0].text == "a pile of old coins [no zeros in this model: left as it is]"


def test_a_fit_is_the_same_whatever_else_is_attacked_and_another_with_another_seed(tiny_checkpoint: Path) -> None:
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    zeroed(pipeline)
    tensor = find_sites(pipeline.unet)[0].tensor

    def filled(settings: Revive, targets: list[Target]) -> Tensor:
        with closing(find(pipeline, targets, Budget.of(settings, "least_squares"))) as search:
            next(search)
            return pipeline.unet.get_parameter(tensor).detach().clone()

    first = filled(SETTINGS, TARGETS)
    assert torch.equal(first, filled(SETTINGS, TARGETS[1:]))
    assert not torch.equal(first, filled(SETTINGS.model_copy(update={"seed": 1}), TARGETS))


def test_sites_of_every_family_count(tiny_checkpoint: Path) -> None:
    network = denoiser(Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu")))
    assert set(all_sites(network)) == {site for family in FAMILIES for site in find_sites(network, family)}
    with pytest.raises(ExciseError, match="Linear is not supported"):
        all_sites(torch.nn.Linear(2, 2))
