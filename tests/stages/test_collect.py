"""collect on a real tiny checkpoint: what is counted, when it stops, and that a kill changes no bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from excise.diffusion.denoise import denoise, noise_key
from excise.diffusion.load import load_pipeline
from excise.diffusion.sites import find_sites
from excise.errors import ExciseError
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.stages import collect
from tests.conftest import changed


@pytest.fixture(scope="module")
def statistics(collected: Path) -> dict[str, Tensor]:
    return load_file(collected / collect.OUTPUT)


def literal(recipe: Recipe, texts: list[str], steps_run: int) -> dict[str, dict[str, Tensor]]:
    """Energies the plain way: prompts one by one through a generation of ``steps_run`` calls, activations kept whole.

    Returns, by kind of row and by site, ``(prompts, calls, neurons)`` float64: normalised squares summed over tokens.
    """
    pipeline: DiffusionPipeline = load_pipeline(recipe.model.path, torch.float32, torch.device("cpu"))
    found: dict[str, dict[str, Tensor]] = {"both": {}, "conditional": {}}
    kept: dict[str, list[Tensor]] = {}
    for site in find_sites(pipeline.unet):
        kept[site.name] = []
        layer = pipeline.unet.get_submodule(site.name)
        layer.register_forward_pre_hook(lambda _, inputs, name=site.name: kept[name].append(inputs[0].double()))
    for text in texts:
        denoise(pipeline, [text], [noise_key("", recipe.collect.seed)], recipe.sampling, calls=steps_run, decode=False)
    for name, tensors in kept.items():
        calls = torch.stack(tensors).unflatten(0, (len(texts), steps_run))  # (prompts, calls, 2, tokens, neurons)
        energy = F.normalize(calls, dim=-1).square().sum(dim=-2)[:, : recipe.collect.calls]
        found["both"][name], found["conditional"][name] = energy.sum(dim=2), energy[:, :, 1]
    return found


@pytest.mark.parametrize("group", [0, 2])
def test_statistics_are_those_of_whole_generations(
    tiny_recipe: Recipe, tiny_sets: PromptSets, statistics: dict[str, Tensor], group: int
) -> None:
    """Batch 2 in chunks of 2, stopped at call 3, against batch 1, all 4 steps run, later calls dropped."""
    texts = [prompt.text for prompt in tiny_sets.located[group]]
    tokens = {}
    for rows, sites in literal(tiny_recipe, texts, steps_run=tiny_recipe.sampling.steps).items():
        for site, energy in sites.items():
            moments = collect.read_moments(statistics, "memorized", group, rows, site)
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
                torch.testing.assert_close(getattr(moments, name), value, rtol=1e-4, atol=1e-7)
    assert torch.equal(tokens["both"], 2 * tokens["conditional"])


def test_batch_of_one_or_four(tiny_recipe: Recipe, tiny_sets: PromptSets, tmp_path: Path) -> None:
    found = []
    for batch in (1, 4):
        recipe = changed(changed(tiny_recipe, "sampling", batch=batch), "collect", chunk=4)
        (tmp_path / str(batch)).mkdir()
        collect.run(recipe, tiny_sets, tmp_path / str(batch))
        found.append(load_file(tmp_path / str(batch) / collect.OUTPUT))
        calls = json.loads((tmp_path / str(batch) / collect.COST).read_text())["calls"]
        prompts = sum(map(len, (*tiny_sets.located, *tiny_sets.control, tiny_sets.contrast))) + 1
        assert calls == 3 * (prompts if batch == 1 else 8)
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-4, atol=0)


def test_sets_groups_and_cost(
    tiny_recipe: Recipe, tiny_sets: PromptSets, collected: Path, statistics: dict[str, Tensor]
) -> None:
    groups = {tuple(name.split("/")[:3]) for name in statistics}
    expected = {(name, str(group)) for name in ("memorized", "control") for group in range(3)}
    expected |= {("contrast", "0"), ("empty", "0")}
    assert groups == {(*pair, rows) for pair in expected for rows in ("both", "conditional")}
    assert all(value.dtype == torch.float64 for value in statistics.values())
    cost = json.loads((collected / collect.COST).read_text())
    sizes = [len(group) for group in tiny_sets.located]
    assert cost["sets"] == {"memorized": sizes, "control": sizes, "contrast": [3], "empty": [1]}
    assert cost["prompts"] == 2 * sum(sizes) + 4 and cost["prompt_calls"] == 3 * cost["prompts"]
    assert cost["calls"] == 3 * sum(-(-size // 2) for size in (*sizes, *sizes, 3, 1))
    assert cost["seconds"] > 0 and cost["peak_memory_bytes"] > 2**20


def test_own_noise_runs_the_empty_prompt_from_every_located_latent(tiny_recipe: Recipe, tiny_sets: PromptSets) -> None:
    chunks = collect.plan_chunks(changed(tiny_recipe, "collect", noise="own", chunk=4), tiny_sets)
    located = [key for chunk in chunks if chunk.set == "memorized" for key in chunk.keys]
    empty = [chunk for chunk in chunks if chunk.set == "empty"]
    assert [key for chunk in empty for key in chunk.keys] == located and len(set(located)) == len(located)
    assert {text for chunk in empty for text in chunk.texts} == {""}
    shared = collect.plan_chunks(tiny_recipe, tiny_sets)
    assert len({key for chunk in shared for key in chunk.keys}) == 1


def test_chunks_never_cross_a_group(tiny_recipe: Recipe, tiny_sets: PromptSets) -> None:
    for size in (1, 2, 100):
        chunks = collect.plan_chunks(changed(tiny_recipe, "collect", chunk=size), tiny_sets)
        for i, group in enumerate(tiny_sets.located):
            mine = [chunk for chunk in chunks if (chunk.set, chunk.group) == ("memorized", i)]
            assert [text for chunk in mine for text in chunk.texts] == [prompt.text for prompt in group]
            assert max(len(chunk.texts) for chunk in mine) <= size


def test_without_guidance_all_rows_are_conditional(
    tiny_recipe: Recipe, tiny_sets: PromptSets, statistics: dict[str, Tensor]
) -> None:
    recipe = changed(tiny_recipe, "sampling", guidance=1.0)
    pipeline = load_pipeline(recipe.model.path, torch.float32, torch.device("cpu"))
    sites = find_sites(pipeline.unet)
    found = collect.collect_chunk(recipe, pipeline, sites, collect.plan_chunks(recipe, tiny_sets)[0])
    guided = collect.collect_chunk(tiny_recipe, pipeline, sites, collect.plan_chunks(recipe, tiny_sets)[0])
    for site in sites:
        both, alone = (found[f"{rows}/{site.name}/energy"] for rows in collect.ROWS)
        assert torch.equal(both, alone)
        torch.testing.assert_close(alone[0], guided[f"conditional/{site.name}/energy"][0], rtol=1e-4, atol=1e-7)


RUN = """
import sys
from pathlib import Path
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Recipe
from excise.stages import collect
import torch
torch.set_num_threads(1)
recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
whole = prompt_sets(recipe)
sets = PromptSets(whole.located, whole.held_out, whole.contrast[:3], whole.control, whole.judged, whole.never_seen)
collect.run(recipe, sets, Path(sys.argv[2]))
"""


def test_a_killed_collection_resumes_to_the_same_bytes(
    tiny_recipe: Recipe, tiny_sets: PromptSets, collected: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.json").write_text(tiny_recipe.model_dump_json(by_alias=True))
    run = tmp_path / "run"
    run.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path / "recipe.json"), str(run)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    partial = run / "partial" / "collect"
    until = time.monotonic() + 300
    while time.monotonic() < until and len(list(partial.glob("*.safetensors"))) < 3:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    done = {file.name: file.read_bytes() for file in partial.glob("*.safetensors")}
    chunks = len(collect.plan_chunks(tiny_recipe, tiny_sets))
    assert 3 <= len(done) < chunks and not (run / collect.OUTPUT).exists()
    collect.run(tiny_recipe, tiny_sets, run)
    assert {name: (partial / name).read_bytes() for name in done} == done
    assert (run / collect.OUTPUT).read_bytes() == (collected / collect.OUTPUT).read_bytes()
    costs = [json.loads((path / collect.COST).read_text()) for path in (run, collected)]
    assert costs[0]["calls"] == costs[1]["calls"]


def test_everything_done_needs_no_model(tiny_recipe: Recipe, tiny_sets: PromptSets, collected: Path) -> None:
    before = (collected / collect.OUTPUT).read_bytes()
    (collected / collect.OUTPUT).unlink()
    collect.run(changed(tiny_recipe, "model", path=Path("nowhere")), tiny_sets, collected)
    assert (collected / collect.OUTPUT).read_bytes() == before


def test_more_calls_than_a_generation_has(tiny_recipe: Recipe, tiny_sets: PromptSets, tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match=r"collect\.calls: 5 calls asked for, but sampling\.steps = 4 makes 4"):
        collect.run(changed(tiny_recipe, "collect", calls=5), tiny_sets, tmp_path)


def broken(tiny_checkpoint: Path, target: Path, tensor: str, value: float) -> Path:
    shutil.copytree(tiny_checkpoint, target)
    file = target / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights[tensor].view(-1)[0] = value
    save_file(weights, file)
    return target


def test_nan_in_a_site_is_refused_before_the_first_call(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    name = "mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight"
    path = broken(tiny_checkpoint, tmp_path / "model", name, float("nan"))
    with pytest.raises(ExciseError, match=rf"diffusion_pytorch_model\.safetensors: {name}: holds NaN"):
        collect.run(changed(tiny_recipe, "model", path=path), tiny_sets, tmp_path)
    assert not list((tmp_path / "partial" / "collect").iterdir())


def test_activations_that_overflow_are_refused(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = broken(tiny_checkpoint, tmp_path / "model", "conv_in.weight", 1e38)
    with pytest.raises(ExciseError, match=r"model\.dtype: activations at .* are not finite in float32"):
        collect.run(changed(tiny_recipe, "model", path=path), tiny_sets, tmp_path)
    assert not (tmp_path / collect.OUTPUT).exists()
