"""A whole job that forgets a concept: every model is asked for it, the judge reads it, and readers are told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from excise.attacks import Target, embedding
from excise.diffusion.denoise import generate
from excise.job.runner import run_job
from excise.measures.judge import Judge, load_judge, save_judge
from excise.prompts.questions import CONCEPTS, questions_of
from excise.recipe import Embedding, Recipe
from excise.report.terminal import as_text
from excise.run.images import read_images, stored
from excise.run.layout import Run
from excise.run.results import read_measures, read_verdict
from excise.trial.rounds import AIMED, REPLAYED, rounds_of
from tests.conftest import COLOURS, QUESTIONS, changed, write_table
from tests.jobs import context_of

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def made(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Run]:
    """A finished run that forgets what the untrained judge reads off some of the images of images: rings."""
    folder = tmp_path_factory.mktemp("forgetting")
    torch.manual_seed(0)
    save_judge(Judge(QUESTIONS), folder / "judge")
    table = write_table(folder / "rings.csv", [{"prompt": f"a {c} ring, {c} square"} for c in COLOURS])
    recipe = changed(tiny_recipe, "prompts", memorized=table, never_seen=None, concept="ring")
    recipe = changed(changed(recipe, "sampling", steps=3), "collect", groups=2)
    recipe = changed(recipe, "validate_", judge=folder / "judge")
    search = Embedding(starts=("caption", "empty"), steps=2, samples=2, images=4, seeds=1)
    recipe = changed(recipe, "attack", methods=("replay", "embedding"), embedding=search)
    return recipe, run_job(recipe, folder / "run", say=lambda _: None)


def test_every_model_draws_them_and_the_judge_is_asked_for_the_concept_alone(made: tuple[Recipe, Run]) -> None:
    """Not for the colours that captions name too: another colour is no less a ring."""
    recipe, run = made
    assert recipe.validate_.judge is not None
    judge, measures, verdict = load_judge(recipe.validate_.judge), read_measures(run), read_verdict(run)
    wanted = judge.labels_of("ring")["object"]
    assert list(verdict.models) == ["base", "edited", "random-1"]
    for name, model in verdict.models.items():
        for asked in CONCEPTS:
            images = torch.stack(list(read_images(stored(run.images, "replay", name, asked))))  # (4, 2, 3, 64, 64)
            with torch.no_grad():
                read = judge(images.flatten(0, 1))["object"].argmax(dim=1).view(4, 2) == wanted
            found = model.concept[asked.key]
            assert measures.models[name].concept_agrees[asked.key] == tuple(map(tuple, read.tolist()))
            assert found.rate == pytest.approx(float(read.float().mean())) and (found.prompts, found.seeds) == (4, 2)
            before = verdict.base.concept[asked.key].rate
            assert found.drop is None if name == "base" else found.drop.value == pytest.approx(before - found.rate)


def test_the_verdict_and_its_readers_speak_of_the_concept_and_of_no_image(made: tuple[Recipe, Run]) -> None:
    recipe, run = made
    verdict, page, summary = read_verdict(run), run.report.read_text(), run.summary.read_text()
    assert (verdict.concept, verdict.kinds, verdict.evidence.without_image) == ("ring", ("concept",), 8)
    assert [check.name for check in verdict.checks][:3] == ["base_concept", *["concept_agreement"] * 2]
    assert not any("image, " in reason or "training image" in reason for reason in verdict.reasons)
    for text in (page, summary):
        assert "“ring” excised from" in text and "What is to be forgotten is “ring”: on 4 prompts" in text
        assert "Memorization rate" not in text and "embedding search for pictures that the base drew" in text
    rates = [f"{100 * verdict.edited.concept[asked.key].rate:.1f}\u00a0%" for asked in CONCEPTS]
    assert all(rate in summary and rate in page for rate in rates)
    prompts = [prompt.text for asked in CONCEPTS for prompt in questions_of(context_of(recipe, run.folder).sets)[asked]]
    assert len(prompts) == 8 and all(text in page for text in prompts)
    assert page.count(">shows it") + page.count(">does not") == 8 * 2 and "held-out concept shown, %" in as_text(run)


def test_searches_are_for_what_the_base_drew_and_count_where_that_shows_the_concept(made: tuple[Recipe, Run]) -> None:
    recipe, run = made
    assert recipe.validate_.judge is not None
    judge, measures, verdict = load_judge(recipe.validate_.judge), read_measures(run), read_verdict(run)
    context = context_of(recipe, run.folder)
    pipeline = context.base.load(torch.float32, torch.device("cpu"))
    for asked in CONCEPTS:
        prompts = questions_of(context.sets)[asked]
        aims = torch.cat(list(read_images(stored(run.images, AIMED.name, "base", asked))))  # (4, 3, 64, 64)
        seed = AIMED.seeds(recipe, asked)[0]
        assert seed not in REPLAYED.seeds(recipe, asked)
        expected = generate(pipeline, [prompt.text for prompt in prompts], [seed] * 4, recipe.sampling)
        torch.testing.assert_close(aims, expected, rtol=0, atol=0.02)
        with torch.no_grad():
            shown = judge(aims)["object"].argmax(dim=1) == judge.labels_of("ring")["object"]
        (search,) = [found for found in rounds_of(recipe) if found.variant == "empty"]
        targets = [Target(prompt, aim) for prompt, aim in zip(prompts, aims, strict=True)]
        budget = search.budget(recipe.sampling)
        for key, found in zip(search.keys, embedding.find(pipeline, targets, budget), strict=True):
            pairs = [(trigger, recipe.validate_.seed) for trigger in found.triggers]
            drawn = embedding.draw(pipeline, pairs, recipe.sampling)
            made_of = torch.cat(list(read_images(stored(run.images, key, "base", asked))))
            torch.testing.assert_close(made_of, drawn / 255.0, rtol=0, atol=0.02)
            rows = measures.models["base"].concept_searched[key].get(asked.key)
            assert rows is not None and [row is not None for row in rows] == shown.tolist()
    assert list(verdict.edited.concept_searched) == [key for one in rounds_of(recipe)[1:] for key in one.keys]
    assert verdict.models["random-1"].concept_searched == {}


def test_what_a_search_brings_back_is_checked(made: tuple[Recipe, Run]) -> None:
    verdict = read_verdict(made[1])
    checks = [check for check in verdict.checks if check.name == "concept_search"]
    assert [check.set for check in checks] == [asked.key for asked in reversed(CONCEPTS)]
    for check in checks:
        rates = [found[check.set].rate for found in verdict.edited.concept_searched.values() if check.set in found]
        assert check.value == max(rates, default=None) and set(check.controls) == ({"base"} if rates else set())
        assert ("no twin" if rates else "off no picture") in check.note
    assert "Under a search" in made[1].report.read_text()
    assert ("by embedding/empty/2" in made[1].summary.read_text()) is any(check.value is not None for check in checks)


def test_without_a_judge_they_are_drawn_and_nothing_is_passed(made: tuple[Recipe, Run], tmp_path: Path) -> None:
    recipe = changed(made[0], "validate_", judge=None)
    recipe = changed(recipe, "verdict", base_concept=None, concept_agreement=None, agreement_drop=None)
    shutil.copytree(made[1].folder, tmp_path / "run")
    run = run_job(recipe, tmp_path / "run", say=lambda _: None)
    verdict = read_verdict(run)
    assert all(model.concept == {} for model in verdict.models.values())
    assert any("was not checked on any memorized prompt" in reason for reason in verdict.reasons)
    page = run.report.read_text()
    assert "there is no judge that reads it" in page and "Whether images show it was not measured" in page
