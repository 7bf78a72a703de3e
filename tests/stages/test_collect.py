"""collect on a real tiny checkpoint: what is counted, of what, and when it stops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from excise.diffusion.sites import Site, find_sites
from excise.errors import ExciseError
from excise.job.demand import demand_of
from excise.mathematics.column_energy import SUMS, ColumnEnergy
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.statistics import ROWS, Demand, StatisticsFile
from excise.stages import collect
from tests.conftest import changed
from tests.jobs import context_of
from tests.stages.conftest import EVERYTHING
from tests.stages.plain import pipeline_of, site_inputs


@pytest.fixture(scope="module")
def statistics(collected: Path) -> dict[str, Tensor]:
    return load_file(Run(collected).statistics)


def energies(recipe: Recipe, texts: list[str], steps_run: int) -> dict[str, dict[str, Tensor]]:
    """Normalised squares summed over tokens: by kind of row and by site ``(prompts, calls, neurons)`` float64."""
    found: dict[str, dict[str, Tensor]] = {"both": {}, "conditional": {}}
    for name, calls in site_inputs(recipe, texts, steps_run).items():
        energy = F.normalize(calls, dim=-1).square().sum(dim=-2)[:, : recipe.collect.calls]
        found["both"][name], found["conditional"][name] = energy.sum(dim=2), energy[:, :, 1]
    return found


@pytest.mark.parametrize("group", [0, 2])
def test_statistics_are_those_of_whole_generations(
    tiny_recipe: Recipe, tiny_sets: PromptSets, collected: Path, group: int
) -> None:
    """Chunks of 2, stopped at call 3, against batch 1, all 4 steps run, later calls dropped."""
    texts = [prompt.text for prompt in tiny_sets.located[group]]
    statistics, tokens = StatisticsFile(Run(collected)), {}
    for rows, sites in energies(tiny_recipe, texts, steps_run=tiny_recipe.sampling.steps).items():
        for site, energy in sites.items():
            found = statistics.read("column_energy", "memorized", group, rows, site)
            seen = energy.sum(dim=-1, keepdim=True).round()  # normalised: one for each token
            tokens[rows] = seen
            expected = {
                "energy": energy.sum(dim=0),
                "first": (energy / seen).sum(dim=0),
                "second": (energy / seen).square().sum(dim=0),
                "tokens": seen[..., 0].sum(dim=0),
                "prompts": torch.tensor(float(len(texts)), dtype=torch.float64),
            }
            for name, value in expected.items():
                torch.testing.assert_close(getattr(found, name), value, rtol=1e-4, atol=1e-7)
    assert torch.equal(tokens["both"], 2 * tokens["conditional"])


def test_batch_of_one_or_four(tiny_recipe: Recipe, tiny_sets: PromptSets, tmp_path: Path) -> None:
    found = []
    for batch in (1, 4):
        recipe = changed(changed(tiny_recipe, "sampling", batch=batch), "collect", chunk=4)
        (tmp_path / str(batch)).mkdir()
        context = context_of(recipe, tmp_path / str(batch), tiny_sets, EVERYTHING)
        collect.run(context)
        found.append(load_file(context.run.statistics))
        calls = json.loads(context.run.cost.read_text())["calls"]
        prompts = sum(map(len, (*tiny_sets.located, *tiny_sets.control, tiny_sets.contrast))) + 1
        assert calls == 3 * (prompts if batch == 1 else 8)
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-4, atol=0)


def test_sets_groups_and_cost(
    tiny_recipe: Recipe,
    tiny_sets: PromptSets,
    tiny_sites: tuple[Site, ...],
    collected: Path,
    statistics: dict[str, Tensor],
) -> None:
    expected = {(name, str(group)) for name in ("memorized", "control") for group in range(3)}
    expected |= {("contrast", "0"), ("empty", "0")}
    assert {tuple(name.split("/")) for name in statistics} == {
        (*pair, rows, "column_energy", site.name, part)
        for pair in expected
        for rows in ("both", "conditional")
        for site in tiny_sites
        for part in SUMS
    }
    assert all(value.dtype == torch.float64 for value in statistics.values())
    cost = json.loads(Run(collected).cost.read_text())
    sizes = [len(group) for group in tiny_sets.located]
    assert cost["sets"] == {"memorized": sizes, "control": sizes, "contrast": [3], "empty": [1]}
    assert cost["prompts"] == 2 * sum(sizes) + 4 and cost["prompt_calls"] == 3 * cost["prompts"]
    assert cost["calls"] == 3 * sum(-(-size // 2) for size in (*sizes, *sizes, 3, 1))
    assert cost["seconds"] > 0 and cost["peak_memory_bytes"] > 2**20


@pytest.mark.parametrize(
    ("settings", "sets", "rows"),
    [
        ({}, {"memorized", "control", "empty"}, "both"),
        ({"contrast": "ordinary", "rows": "conditional"}, {"memorized", "control", "contrast"}, "conditional"),
        ({"evidence": False}, {"memorized", "empty"}, "both"),
    ],
)
def test_only_what_the_recipe_asks_for_is_collected(
    tiny_recipe: Recipe,
    tiny_sets: PromptSets,
    statistics: dict[str, Tensor],
    tmp_path: Path,
    settings: dict[str, object],
    sets: set[str],
    rows: str,
) -> None:
    """And what is collected has the same bits, whatever else is."""
    recipe = changed(tiny_recipe, "locate", **settings)
    assert demand_of(recipe) == Demand(tuple(s for s in EVERYTHING.sets if s in sets), (rows,), ("column_energy",))
    context = context_of(recipe, tmp_path, tiny_sets)
    collect.run(context)
    found = load_file(context.run.statistics)
    assert found.keys() == {name for name in statistics if name.split("/")[0] in sets and f"/{rows}/" in name}
    assert all(torch.equal(value, statistics[name]) for name, value in found.items())
    assert json.loads(context.run.cost.read_text())["sets"].keys() == sets


def test_own_noise_runs_the_empty_prompt_from_every_located_latent(tiny_recipe: Recipe, tiny_sets: PromptSets) -> None:
    own = changed(tiny_recipe, "collect", noise="own", chunk=4)
    chunks = collect.plan_chunks(own, tiny_sets, EVERYTHING)
    located = [key for chunk in chunks if chunk.set == "memorized" for key in chunk.keys]
    empty = [chunk for chunk in chunks if chunk.set == "empty"]
    assert [key for chunk in empty for key in chunk.keys] == located and len(set(located)) == len(located)
    assert {text for chunk in empty for text in chunk.texts} == {""}
    shared = collect.plan_chunks(tiny_recipe, tiny_sets, EVERYTHING)
    assert len({key for chunk in shared for key in chunk.keys}) == 1


def test_chunks_never_cross_a_group(tiny_recipe: Recipe, tiny_sets: PromptSets) -> None:
    for size in (1, 2, 100):
        chunks = collect.plan_chunks(changed(tiny_recipe, "collect", chunk=size), tiny_sets, EVERYTHING)
        for i, group in enumerate(tiny_sets.located):
            own = [chunk for chunk in chunks if (chunk.set, chunk.group) == ("memorized", i)]
            assert [text for chunk in own for text in chunk.texts] == [prompt.text for prompt in group]
            assert max(len(chunk.texts) for chunk in own) <= size


def test_without_guidance_all_rows_are_conditional(tiny_recipe: Recipe, tiny_sets: PromptSets) -> None:
    recipe = changed(tiny_recipe, "sampling", guidance=1.0)
    pipeline = pipeline_of(recipe)
    sites = find_sites(pipeline.unet)
    chunk = collect.plan_chunks(recipe, tiny_sets, EVERYTHING)[0]
    found = collect.collect_chunk(recipe, pipeline, sites, chunk, EVERYTHING)
    guided = collect.collect_chunk(tiny_recipe, pipeline, sites, chunk, EVERYTHING)
    for site in sites:
        both, alone = (found[f"{rows}/column_energy/{site.name}/energy"] for rows in ROWS)
        assert torch.equal(both, alone)
        expected = guided[f"conditional/column_energy/{site.name}/energy"][0]
        torch.testing.assert_close(alone[0], expected, rtol=1e-4, atol=1e-7)


def test_statistics_that_are_not_there(collected: Path, tmp_path: Path, tiny_sites: tuple[Site, ...]) -> None:
    with pytest.raises(ExciseError, match=r"statistics\.safetensors: is not there; first run"):
        StatisticsFile(Run(tmp_path))
    statistics, site = StatisticsFile(Run(collected)), tiny_sites[0].name
    assert statistics.groups("memorized") == 3 and statistics.groups("empty") == 1
    total = statistics.total("column_energy", "memorized", "both", site)
    assert isinstance(total, ColumnEnergy)
    assert total.prompts == sum(energy.prompts for energy in statistics.energies("memorized", "both", site))
    with pytest.raises(ExciseError, match=r"memorized/0/both/second_moment/.* was not collected; run excise run again"):
        statistics.read("second_moment", "memorized", 0, "both", site)


def test_more_calls_than_a_generation_has(tiny_recipe: Recipe, tiny_sets: PromptSets, tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match=r"collect\.calls: 5 calls asked for, but sampling\.steps = 4 makes 4"):
        collect.run(context_of(changed(tiny_recipe, "collect", calls=5), tmp_path, tiny_sets))


def broken(tiny_checkpoint: Path, target: Path, tensor: str, value: float) -> Path:
    shutil.copytree(tiny_checkpoint, target)
    file = target / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights[tensor].view(-1)[0] = value
    save_file(weights, file)
    return target


def test_activations_that_overflow_are_refused(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = broken(tiny_checkpoint, tmp_path / "model", "conv_in.weight", 1e38)
    context = context_of(changed(tiny_recipe, "model", path=path), tmp_path, tiny_sets)
    with pytest.raises(ExciseError, match=r"model\.dtype: activations at .* are not finite in float32"):
        collect.run(context)
    assert not context.run.statistics.exists()
