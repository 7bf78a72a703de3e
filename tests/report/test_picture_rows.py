from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from excise.measures.replication import Rule, load_target
from excise.prompts.prompt import Prompt
from excise.prompts.questions import JUDGED, SHOWN, questions_of
from excise.prompts.sets import PromptSets
from excise.report.picture_rows import Pictures, beside, data_uri, rule_of
from excise.run.images import read_prompt, stored, write_images
from excise.verdict.measured import AskedPrompt, AskedSet, Measured, Measures, ModelMeasures
from tests.trial.tried import THRESHOLD, Tried

COUNTS = {"memorized": 45, "ordinary": 30}


@pytest.fixture(scope="module")
def pictures(tried: Tried) -> Pictures:
    return Pictures(tried.run.images, tried.verdict, tried.measures)


def pixels(uri: str) -> Tensor:
    """The picture of a data URI, uint8 ``(3, height, width)``."""
    kind, data = uri.split(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert kind == f"data:image/{str(image.format).lower()}"
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def test_a_grid_for_each_memorized_question_what_was_not_used_first(tried: Tried, pictures: Pictures) -> None:
    grids = pictures.memorized_grids(tried.sets)
    titles = ["Held-out verbatim", "Held-out template", "Located verbatim", "Located template"]
    assert [grid["title"] for grid in grids] == titles
    assert ["Nothing before validation" in grid["note"] for grid in grids] == [True, True, False, False]
    asked = questions_of(tried.sets)
    for grid, question in zip(grids, [question for question in SHOWN if question.memorized], strict=True):
        assert grid["columns"] == ["training image", "base", "edited", "twin"]
        assert [prompt["caption"] for prompt in grid["prompts"]] == [prompt.text for prompt in asked[question]]
        assert (grid["seeds"], grid["seeds_shown"], grid["left_out"]) == (3, 2, 0)
        for prompt in grid["prompts"]:
            assert [row["seed"] for row in prompt["rows"]] == [1000, 1001]
            assert all(len(row["cells"]) == 4 for row in prompt["rows"])


def test_every_cell_is_the_image_of_its_prompt_seed_and_model_with_its_numbers(
    tried: Tried, pictures: Pictures
) -> None:
    grids, seen = pictures.memorized_grids(tried.sets), set()
    for grid, question in zip(grids, [question for question in SHOWN if question.memorized], strict=True):
        for i, prompt in enumerate(grid["prompts"]):
            for s, row in enumerate(prompt["rows"]):
                for name, cell in zip(("base", "edited", "twin"), row["cells"][1:], strict=True):
                    drawn = read_prompt(stored(tried.run.images, "replay", name, question), i)[s]
                    assert torch.equal(pixels(cell["uri"]), drawn)
                    measured = tried.measures.models[name].sets[question.key]
                    assert (cell["distance"], cell["ssim"]) == (measured.distance[i][s], measured.ssim[i][s])
                    assert cell["replicated"] is (cell["distance"] <= THRESHOLD)
                    told = "replicates" if cell["replicated"] else "does not replicate"
                    assert cell["alt"] == f"{name}, seed {row['seed']}: {told}"
                    seen.add(cell["replicated"])
    assert seen == {True, False}


def test_the_training_image_is_pale_where_it_does_not_count(tried: Tried, pictures: Pictures) -> None:
    """The masks of the templates are white on their upper half."""
    held_out, templates = pictures.memorized_grids(tried.sets)[:2]
    asked = {question.key: prompts for question, prompts in questions_of(tried.sets).items()}
    cell = held_out["prompts"][0]["rows"][0]["cells"][0]
    prompt = asked["held_out_verbatim"][0]
    whole = (load_target(prompt, 64, 64).image * 255).round().to(torch.uint8)
    assert torch.equal(pixels(cell["uri"]), whole)
    assert cell["replicated"] is None and cell["alt"] == f"training image of: {prompt.text}"
    template = (load_target(asked["held_out_template"][0], 64, 64).image * 255).round()
    faded = pixels(templates["prompts"][0]["rows"][0]["cells"][0]["uri"]).float()
    assert torch.equal(faded[:, :32], template[:, :32])
    torch.testing.assert_close(faded[:, 32:], 0.25 * template[:, 32:] + 0.75 * 255, rtol=0, atol=1.0)


def test_structure_counts_where_the_verdict_asked_for_it(tried: Tried) -> None:
    threshold = tried.verdict.threshold.model_copy(update={"ssim": 1.0})
    assert rule_of(tried.verdict.threshold) == Rule(THRESHOLD, None, 4) and rule_of(threshold) == Rule(
        THRESHOLD, 1.0, 4
    )
    strict = Pictures(tried.run.images, tried.verdict.model_copy(update={"threshold": threshold}), tried.measures)
    cells = [
        cell
        for grid in strict.memorized_grids(tried.sets)
        for prompt in grid["prompts"]
        for row in prompt["rows"]
        for cell in row["cells"][1:]
    ]
    assert cells and not any(cell["replicated"] for cell in cells)


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [
        (0.217, 0.282, "0.217"),
        (0.28243, 0.282, "0.2824"),
        (0.282, 0.282, "0.282"),
        (0.14996, 0.15, "0.14996"),
        (-0.05, 0.268, "\u22120.050"),
    ],
)
def test_a_number_stands_on_the_right_side_of_its_limit(value: float, limit: float, said: str) -> None:
    assert beside(value, limit) == said


def test_ordinary_prompts_at_their_first_seed_with_what_the_judge_reads(tried: Tried, pictures: Pictures) -> None:
    grid = pictures.read_grid(JUDGED)
    assert grid["columns"] == ["base", "edited", "twin"] and (grid["seed"], grid["left_out"]) == (1000, 0)
    assert [prompt["caption"] for prompt in grid["prompts"]] == [prompt.text for prompt in tried.sets.judged]
    for i, prompt in enumerate(grid["prompts"]):
        for name, cell in zip(grid["columns"], prompt["cells"], strict=True):
            drawn = read_prompt(stored(tried.run.images, "replay", name, JUDGED), i)[0]
            assert torch.equal(pixels(cell["uri"]), drawn) and cell["alt"] == name
            agrees = tried.measures.models[name].agrees
            assert agrees is not None and agrees[i] is not None and cell["agrees"] is agrees[i][0]


def test_without_judge_and_twin_the_pictures_are_still_shown(tried: Tried) -> None:
    models = {name: found for name, found in tried.verdict.models.items() if name != "twin"}
    silent = {name: found.model_copy(update={"agrees": None}) for name, found in tried.measures.models.items()}
    found = Pictures(
        tried.run.images,
        tried.verdict.model_copy(update={"models": models}),
        tried.measures.model_copy(update={"models": silent}),
    )
    assert found.columns == ["base", "edited"]
    cells = [cell for prompt in found.read_grid(JUDGED)["prompts"] for cell in prompt["cells"]]
    assert len(cells) == 16 and all(cell["agrees"] is None for cell in cells)
    assert found.memorized_grids(tried.sets)[0]["columns"] == ["training image", "base", "edited"]


def test_what_does_not_fit_is_counted(tried: Tried, tmp_path: Path) -> None:
    """45 memorized and 30 ordinary prompts, of which 40 and 24 are shown."""
    image = tried.sets.located[0][0].image
    memorized, ordinary = ([Prompt(f"{kind} {i}", image) for i in range(count)] for kind, count in COUNTS.items())
    sets = PromptSets((), tuple(memorized), (), (), tuple(ordinary), ())
    (tmp_path / "replay").mkdir()
    asked = questions_of(sets)
    for question, prompts in asked.items():
        drawn = torch.zeros(len(prompts), 1, 3, 64, 64, dtype=torch.uint8)
        write_images(tmp_path, "replay", "base", question, drawn)
    described = {
        question.key: AskedSet(
            prompts=tuple(AskedPrompt(prompt=prompt.text, group="", kind="verbatim") for prompt in prompts), seeds=(7,)
        )
        for question, prompts in asked.items()
    }
    measured = Measured(distance=((0.5,),) * 45, ssim=((0.5,),) * 45, identified=None, sscd=None)
    base = ModelMeasures(sets={"held_out_verbatim": measured}, agrees=None, neighbours_agree=None)
    verdict = tried.verdict.model_copy(update={"models": {"base": tried.verdict.base}})
    found = Pictures(tmp_path, verdict, Measures(sets=described, models={"base": base}))
    (grid,) = found.memorized_grids(sets)
    assert (len(grid["prompts"]), grid["left_out"], grid["seeds"], grid["seeds_shown"]) == (40, 5, 1, 1)
    assert [prompt["caption"] for prompt in grid["prompts"]] == [f"memorized {i}" for i in range(40)]
    shown = found.read_grid(JUDGED)
    assert (len(shown["prompts"]), shown["left_out"], shown["seed"]) == (24, 6, 7)


def test_a_small_picture_is_kept_bit_by_bit_and_a_large_one_reduced(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    small = torch.randint(0, 256, (3, 128, 100), dtype=torch.uint8, generator=rng)
    assert torch.equal(pixels(data_uri(small)), small)
    wide = torch.full((3, 256, 512), 77, dtype=torch.uint8)
    uri = data_uri(wide)
    assert uri.startswith("data:image/jpeg;base64,")
    reduced = pixels(uri)
    assert reduced.shape == (3, 64, 128) and (reduced.int() - 77).abs().max() <= 2
