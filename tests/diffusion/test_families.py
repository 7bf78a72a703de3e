"""The whole way from collect to edit, for every family of pipelines, and the recipes that ship for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from excise.checkpoint import Checkpoint
from excise.checkpoint.compare import compare_folders
from excise.checkpoint.lengths import cut_short
from excise.diffusion.denoise import calls_of, denoise, generate, noise_key
from excise.diffusion.load import denoiser
from excise.diffusion.patching import patched
from excise.diffusion.sites import find_sites
from excise.job.runner import run_job
from excise.mathematics.column_energy import ColumnEnergy
from excise.recipe import Recipe, Sampling, load_recipe
from excise.run.statistics import ROWS, Demand, StatisticsFile
from excise.run.subspace import read_masks
from excise.stages.collect import Chunk, collect_chunk
from tests.conftest import changed, write_table
from tests.diffusion.masks import zeroing
from tests.diffusion.pipelines import FAMILIES, save
from tests.jobs import excise, write_recipe

TEXTS = ["a red circle", "an astronaut in an orange suit", "a pile of old coins"]
TWO_PASSES = ("cogview4", "qwenimage")
"""Families that run guidance as a second pass, on the negative prompt, instead of stacking its rows on the others."""
SAMPLING = Sampling(steps=3, guidance=4.0, size=64, batch=2)
CPU = torch.device("cpu")
EVERYTHING = Demand(("memorized",), ROWS, ("column_energy", "second_moment"))


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp("family") / request.param)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> DiffusionPipeline:
    return Checkpoint.open(folder).load(torch.float32, CPU)


def test_an_image_belongs_to_prompt_and_seed_whatever_the_batch(pipeline: DiffusionPipeline) -> None:
    one, three = (generate(pipeline, TEXTS, [0] * 3, SAMPLING.model_copy(update={"batch": n})) for n in (1, 3))
    assert one.shape == (3, 3, 64, 64) and one.min() >= 0 and one.max() <= 1
    torch.testing.assert_close(one, three, rtol=0, atol=1e-4)
    other = generate(pipeline, TEXTS[:1], [1], SAMPLING)
    assert (other[0] - one[0]).abs().max() > 0.01


def test_the_loop_stops_after_the_calls_asked_for(folder: Path, pipeline: DiffusionPipeline) -> None:
    assert calls_of(pipeline.scheduler, SAMPLING) == 3
    counted: list[int] = []
    handle = denoiser(pipeline).register_forward_pre_hook(lambda *_: counted.append(1))
    keys = [noise_key(text, 0) for text in TEXTS]
    seen: list[int] = []
    part = denoise(pipeline, TEXTS, keys, SAMPLING, calls=2, on_call=seen.append, decode=False)
    passes = 2 if folder.name in TWO_PASSES else 1
    assert (len(counted), seen) == (2 * passes, [0, 1])
    whole = denoise(pipeline, TEXTS, keys, SAMPLING, decode=False)
    handle.remove()
    assert len(counted) == 5 * passes and part.shape == whole.shape and not torch.equal(part, whole)


def test_from_collect_to_an_edit_that_loads(folder: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    changes = {"model.path": str(folder), "sampling.size": 64, "locate.sparsity": 0.05}
    recipe_path = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
    run = run_job(recipe_path, tmp_path / "run", "edit")
    pipeline = Checkpoint.open(folder).load(torch.float32, CPU)
    sites = find_sites(denoiser(pipeline))
    masks = read_masks(run, sites)
    planned = {site.tensor for site in sites if masks[site.name].any()}
    assert {found.tensor for found in compare_folders(folder, run.edited)} == planned
    edited = Checkpoint.open(run.edited).load(torch.float32, CPU)
    plain = generate(pipeline, TEXTS[:1], [0], SAMPLING)
    with patched(denoiser(pipeline), zeroing(sites, masks)):
        expected = generate(pipeline, TEXTS[:1], [0], SAMPLING)
    assert torch.equal(generate(edited, TEXTS[:1], [0], SAMPLING), expected)
    assert not torch.equal(expected, plain)
    assert not any(path.is_symlink() for path in run.edited.rglob("*"))


def test_rows_of_guidance_are_told_apart(folder: Path, pipeline: DiffusionPipeline, tiny_recipe: Recipe) -> None:
    """Conditional statistics under guidance are, at the first call, those without guidance; the pooled ones have those
    of the negative prompt beside them, which in a pass of its own has its own number of text tokens."""
    sites = find_sites(denoiser(pipeline))
    distilled = folder.name == "flux"
    texts = tuple(TEXTS[:2])

    def collected(texts: tuple[str, ...], guidance: float) -> dict[str, torch.Tensor]:
        sampling = SAMPLING.model_copy(update={"guidance": guidance})
        recipe = changed(tiny_recipe, "collect", calls=2).model_copy(update={"sampling": sampling})
        return collect_chunk(recipe, pipeline, sites, Chunk("memorized", 0, texts, (5, 5)), EVERYTHING)

    guided, alone = collected(texts, 4.0), collected(texts, 4.0 if distilled else 1.0)
    negative = collected((" " if folder.name == "qwenimage" else "",) * 2, 1.0)
    for site in sites:
        name = f"column_energy/{site.name}/energy"
        torch.testing.assert_close(guided[f"conditional/{name}"][0], alone[f"both/{name}"][0], rtol=1e-3, atol=1e-5)
        if folder.name in TWO_PASSES:
            both = alone[f"both/{name}"][0] + negative[f"both/{name}"][0]
            torch.testing.assert_close(guided[f"both/{name}"][0], both, rtol=1e-3, atol=1e-5)
        name = f"column_energy/{site.name}/tokens"
        beside = 0 if distilled else negative[f"both/{name}"]
        assert torch.equal(guided[f"both/{name}"], guided[f"conditional/{name}"] + beside)
        assert guided[f"both/column_energy/{site.name}/prompts"] == len(texts)


def test_statistics_belong_to_the_prompts_whatever_the_batch(
    folder: Path, pipeline: DiffusionPipeline, tiny_recipe: Recipe
) -> None:
    sites = find_sites(denoiser(pipeline))
    chunk = Chunk("memorized", 0, (*TEXTS, TEXTS[0]), (5,) * 4)

    def collected(batch: int) -> dict[str, torch.Tensor]:
        sampling = SAMPLING.model_copy(update={"batch": batch})
        recipe = tiny_recipe.model_copy(update={"sampling": sampling})
        return collect_chunk(recipe, pipeline, sites, chunk, EVERYTHING)

    one, four = collected(1), collected(4)
    for name in one.keys() - {"cost"}:
        if name.endswith("/products"):  # signed, and near zero by cancellation: |m_ij| is at most sqrt(m_ii m_jj)
            size = one[name].diagonal().sqrt()
            assert ((one[name] - four[name]).abs() <= 1e-4 * torch.outer(size, size)).all()
        else:
            torch.testing.assert_close(one[name], four[name], rtol=1e-3, atol=1e-5)
    assert four["cost"][0] == {"cogview4": 9, "qwenimage": 12}.get(folder.name, 3)


def test_prompts_that_are_cut_short_are_counted(folder: Path) -> None:
    long = " ".join(["carpet"] * 1100)
    assert cut_short(Checkpoint.open(folder), [TEXTS[0], long]) == {path.name: 1 for path in folder.glob("tokenizer*")}
    assert cut_short(Checkpoint.open(folder), TEXTS) == {}


def test_statistics_of_text_and_image_streams_are_apart(tmp_path: Path, tiny_recipe: Recipe) -> None:
    folder = save("sd3", tmp_path / "sd3")
    path = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"model.path": str(folder), "sampling.size": 64})
    run = run_job(path, tmp_path / "run", "collect")
    statistics = StatisticsFile(run)
    image, text = (
        statistics.read("column_energy", "memorized", 0, "both", f"transformer_blocks.0.{ff}.net.2")
        for ff in ("ff", "ff_context")
    )
    assert isinstance(image, ColumnEnergy) and isinstance(text, ColumnEnergy)
    assert image.tokens[0] == 2 * 16 * image.prompts
    assert text.tokens[0] != image.tokens[0] and text.prompts == image.prompts


@pytest.mark.parametrize(("name", "family"), [("sd14", "sd14"), ("sdxl", "sdxl"), ("sd3", "sd3"), ("flux", "flux")])
def test_the_recipes_that_ship_run_on_a_tiny_twin_of_their_architecture(
    name: str, family: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """As they stand, save where the checkpoint and the tables are, how large the images, how many, and how long the
    training."""
    shipped = load_recipe(Path("recipes") / f"{name}.toml")
    folder = save(family, tmp_path / "base")
    neighbours = write_table(tmp_path / "neighbours.csv", [{"prompt": f"a pile of {n} coins"} for n in range(20)])
    changes = {
        "model.path": str(folder),
        "prompts.memorized": str(tiny_recipe.prompts.memorized),
        "prompts.ordinary": str(tiny_recipe.prompts.ordinary),
        "prompts.judged": str(tiny_recipe.prompts.judged),
        "sampling.size": 64,
        "collect.groups": 3,
        "locate.sparsity": 0.05,
    }
    if shipped.edit.trained:
        changes |= {
            "prompts.never_seen": str(tiny_recipe.prompts.never_seen),
            "prompts.neighbours": str(neighbours),
            "sampling.steps": 10,
            **{f"edit.unlearn.{key}": 2 for key in ("steps", "pictures", "kept_rows", "memorized_rows", "stand_ins")},
        }
    recipe = write_recipe(tmp_path / "recipe.toml", shipped, changes)
    result = excise("plan", recipe, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    run = run_job(recipe, tmp_path / "run", "edit")
    assert excise("diff", folder, run.edited).exit_code == 0
