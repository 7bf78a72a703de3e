"""A job on prompts alone: base and edited model draw them, nothing is measured, and the report has no empty chart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from excise.diffusion.denoise import generate
from excise.job.runner import run_job
from excise.prompts.questions import UNPICTURED, questions_of
from excise.recipe import Recipe
from excise.run.images import image_files, read_images, stored
from excise.run.layout import Run
from excise.run.results import read_measures, read_verdict
from tests.conftest import MEMORIZED, changed, write_table
from tests.jobs import context_of

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def made(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Run]:
    """A finished run on a table that names no image."""
    folder = tmp_path_factory.mktemp("bare")
    table = write_table(folder / "bare.csv", [{"prompt": text} for text in MEMORIZED])
    recipe = changed(tiny_recipe, "prompts", memorized=table, never_seen=None)
    recipe = changed(changed(recipe, "sampling", steps=3), "collect", groups=2)
    return recipe, run_job(recipe, folder / "run", say=lambda _: None)


def test_base_and_edited_model_draw_them_and_no_control_does(made: tuple[Recipe, Run]) -> None:
    recipe, run = made
    names = {"replay/base.unpictured.safetensors", "replay/edited.unpictured.safetensors"}
    assert {name for name in image_files(run.images) if "unpictured" in name} == names
    context = context_of(recipe, run.folder)
    prompts = questions_of(context.sets)[UNPICTURED]
    assert sorted(prompt.text for prompt in prompts) == sorted(MEMORIZED)
    drawn = list(read_images(stored(run.images, "replay", "base", UNPICTURED)))
    assert [len(images) for images in drawn] == [2] * len(MEMORIZED)
    pipeline = context.base.load(torch.float32, torch.device("cpu"))
    expected = generate(pipeline, [prompts[0].text], [recipe.validate_.seed], recipe.sampling)
    torch.testing.assert_close(drawn[0][:1], expected, rtol=0, atol=0.02)


def test_nothing_is_measured_on_them(made: tuple[Recipe, Run]) -> None:
    verdict, measures = read_verdict(made[1]), read_measures(made[1])
    assert not verdict.accepted and all(not model.sets for model in verdict.models.values())
    assert set(measures.sets) == {"unpictured", "judged"}
    assert all(not found.sets for found in measures.models.values())
    assert verdict.edited.drift is not None and verdict.evidence.without_image == len(MEMORIZED)


def test_the_report_shows_them_and_no_empty_chart(made: tuple[Recipe, Run]) -> None:
    page, summary = made[1].report.read_text(), made[1].summary.read_text()
    assert "Prompts without a training image" in page and all(text in page for text in MEMORIZED)
    assert "Memorization rate of each model" not in page
    said = "Nothing was measured: no memorized prompt names a training image to compare with."
    assert said.replace("measured", "measured here") in page and said in summary
    assert not re.search(r"<t(head|r)>\s*(<tr>)?<th>Model</th>\s*</tr>", page), "a table of models without a column"
    assert "| model |\n| --- |" not in summary


def test_a_table_with_some_images_has_both(tiny_recipe: Recipe, tiny_tables: Path, tmp_path: Path) -> None:
    rows = [{"prompt": text, "image": ""} for text in MEMORIZED]
    for i in range(0, 8, 2):
        rows[i]["image"] = str(tiny_tables / f"verbatim{i}.png")
    recipe = changed(tiny_recipe, "prompts", memorized=write_table(tmp_path / "half.csv", rows))
    recipe = changed(changed(changed(recipe, "sampling", steps=3), "collect", groups=2), "validate_", random_edits=0)
    run = run_job(recipe, tmp_path / "run", say=lambda _: None)
    page = run.report.read_text()
    assert "Prompts without a training image" in page and "Memorization rate of each model" in page
    sets = read_measures(run).sets
    assert sum(len(found.prompts) for key, found in sets.items() if key.endswith("verbatim")) == 4
    assert len(sets["unpictured"].prompts) == 4
