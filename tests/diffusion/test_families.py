"""The whole way from collect to edit, for every family of pipelines, and the recipes that ship for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from editor.diffusion.compare import compare_folders
from editor.diffusion.denoise import calls_of, denoise, generate, noise_key
from editor.diffusion.load import denoiser, load_pipeline
from editor.diffusion.patching import zeroed
from editor.diffusion.sites import find_sites
from editor.job import run_job
from editor.prompts import prompt_sets
from editor.recipe import Recipe, Sampling, load_recipe
from editor.stages import collect, locate
from tests.diffusion.pipelines import FAMILIES, save
from tests.jobs import excise, write_recipe

TEXTS = ["a red circle", "an astronaut in an orange suit", "a pile of old coins"]
SAMPLING = Sampling(steps=3, guidance=4.0, size=64, batch=2)


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp("family") / request.param)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> DiffusionPipeline:
    return load_pipeline(folder, torch.float32, torch.device("cpu"))


def test_an_image_belongs_to_prompt_and_seed_whatever_the_batch(pipeline: DiffusionPipeline) -> None:
    one, three = (generate(pipeline, TEXTS, [0] * 3, SAMPLING.model_copy(update={"batch": n})) for n in (1, 3))
    assert one.shape == (3, 3, 64, 64) and one.min() >= 0 and one.max() <= 1
    torch.testing.assert_close(one, three, rtol=0, atol=1e-4)
    other = generate(pipeline, TEXTS[:1], [1], SAMPLING)
    assert (other[0] - one[0]).abs().max() > 0.01


def test_the_loop_stops_after_the_calls_asked_for(pipeline: DiffusionPipeline) -> None:
    assert calls_of(pipeline, SAMPLING) == 3
    counted: list[int] = []
    handle = denoiser(pipeline).register_forward_pre_hook(lambda *_: counted.append(1))
    keys = [noise_key(text, 0) for text in TEXTS]
    seen: list[int] = []
    part = denoise(pipeline, TEXTS, keys, SAMPLING, calls=2, on_call=seen.append, decode=False)
    assert (len(counted), seen) == (2, [0, 1])
    whole = denoise(pipeline, TEXTS, keys, SAMPLING, decode=False)
    handle.remove()
    assert len(counted) == 5 and part.shape == whole.shape and not torch.equal(part, whole)


def test_from_collect_to_an_edit_that_loads(folder: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    changes = {"model.path": str(folder), "sampling.size": 64, "locate.sparsity": 0.05}
    recipe_path = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
    run = run_job(recipe_path, tmp_path / "run", "edit")
    pipeline = load_pipeline(folder, torch.float32, torch.device("cpu"))
    sites = find_sites(denoiser(pipeline))
    masks = locate.read_masks(run, sites)
    planned = {site.tensor for site in sites if masks[site.name].any()}
    assert {found.tensor for found in compare_folders(folder, run / "edited")} == planned
    edited = load_pipeline(run / "edited", torch.float32, torch.device("cpu"))
    plain = generate(pipeline, TEXTS[:1], [0], SAMPLING)
    with zeroed(denoiser(pipeline), sites, masks):
        expected = generate(pipeline, TEXTS[:1], [0], SAMPLING)
    assert torch.equal(generate(edited, TEXTS[:1], [0], SAMPLING), expected)
    assert not torch.equal(expected, plain)
    assert not any(path.is_symlink() for path in (run / "edited").rglob("*"))


def test_rows_of_guidance_are_told_apart(folder: Path, tiny_recipe: Recipe) -> None:
    """Conditional statistics under guidance are, at the first call, those without guidance; the pooled ones are not."""
    recipe = tiny_recipe.model_copy(
        update={
            "model": tiny_recipe.model.model_copy(update={"path": folder}),
            "sampling": SAMPLING,
            "collect": tiny_recipe.collect.model_copy(update={"calls": 2}),
        }
    )
    pipeline = load_pipeline(folder, torch.float32, torch.device("cpu"))
    sites = find_sites(denoiser(pipeline))
    chunk = collect.plan_chunks(recipe, prompt_sets(recipe))[0]
    guided = collect.collect_chunk(recipe, pipeline, sites, chunk)
    distilled = "FluxPipeline" in type(pipeline).__name__
    without = SAMPLING.model_copy(update={"guidance": 4.0 if distilled else 1.0})
    alone = collect.collect_chunk(recipe.model_copy(update={"sampling": without}), pipeline, sites, chunk)
    for site in sites:
        name = f"{site.name}/energy"
        torch.testing.assert_close(guided[f"conditional/{name}"][0], alone[f"both/{name}"][0], rtol=1e-3, atol=1e-5)
        pooled = guided[f"both/{site.name}/tokens"] / guided[f"conditional/{site.name}/tokens"]
        assert pooled.tolist() == [1.0 if distilled else 2.0] * 2
        assert guided[f"both/{site.name}/prompts"] == len(chunk.texts)


def test_statistics_of_text_and_image_streams_are_apart(tmp_path: Path, tiny_recipe: Recipe) -> None:
    folder = save("sd3", tmp_path / "sd3")
    path = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"model.path": str(folder), "sampling.size": 64})
    run = run_job(path, tmp_path / "run", "collect")
    statistics = load_file(run / collect.OUTPUT)
    image, text = (
        statistics[f"memorized/0/both/transformer_blocks.0.{ff}.net.2/tokens"] for ff in ("ff", "ff_context")
    )
    assert image[0] == 2 * 16 * statistics["memorized/0/both/transformer_blocks.0.ff.net.2/prompts"]
    assert text[0] != image[0]


@pytest.mark.parametrize(("name", "family"), [("sd14", "sd14"), ("sdxl", "sdxl"), ("sd3", "sd3"), ("flux", "flux")])
def test_the_recipes_that_ship_run_on_a_tiny_twin_of_their_architecture(
    name: str, family: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """As they stand, save where the checkpoint and the tables are, how large the images, and how many."""
    shipped = load_recipe(Path("recipes") / f"{name}.toml")
    folder = save(family, tmp_path / "base")
    changes = {
        "model.path": str(folder),
        "prompts.memorized": str(tiny_recipe.prompts.memorized),
        "prompts.ordinary": str(tiny_recipe.prompts.ordinary),
        "prompts.judged": str(tiny_recipe.prompts.judged),
        "sampling.size": 64,
        "collect.groups": 3,
        "locate.sparsity": 0.05,
    }
    recipe = write_recipe(tmp_path / "recipe.toml", shipped, changes)
    result = excise("plan", recipe, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    run = run_job(recipe, tmp_path / "run", "edit")
    assert excise("diff", folder, run / "edited").exit_code == 0
