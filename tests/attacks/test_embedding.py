"""Embedding search: what it is on a tiny checkpoint, in a whole job, and that it finds what there is on the testbed."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from pydantic import ValidationError

from excise.attacks import Budget, Target, Trigger, replay
from excise.attacks.embedding import Told, draw, find
from excise.checkpoint import Checkpoint
from excise.diffusion.gradients import TextLoss
from excise.diffusion.latents import latents_of
from excise.errors import ExciseError
from excise.job.plan import plan_job
from excise.job.runner import run_job
from excise.measures.replication import Rule, load_target
from excise.prompts.prompt import read_prompts
from excise.prompts.questions import questions_of
from excise.prompts.sets import prompt_sets
from excise.recipe import Attack, Embedding, Recipe, Sampling, load_recipe
from excise.release.search_faults import search_faults
from excise.run.layout import Run
from excise.run.results import read_verdict
from excise.stages import attack
from excise.trial.blocks import blocks_of
from excise.trial.subjects import subjects_of
from excise.verdict.models import Verdict
from tests.conftest import changed
from tests.diffusion.pipelines import save
from tests.jobs import context_of

SAMPLING = Sampling(steps=2, guidance=3.0, batch=4)
QUICK = Embedding(steps=2, curve=(1,), samples=2, images=3, starts=("caption", "other"), chunk=2)


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> DiffusionPipeline:
    return Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))


@pytest.fixture(scope="module")
def target(tiny_recipe: Recipe) -> Target:
    one, other = read_prompts(tiny_recipe.prompts.memorized)[:2]
    return Target(one, load_target(one, 64, 64).image, Target(other, load_target(other, 64, 64).image))


def found(
    pipeline: DiffusionPipeline, target: Target, settings: Embedding, start: str, purpose: str = "judging"
) -> list[Told]:
    budget = Budget.of(settings, start, SAMPLING, purpose)  # type: ignore[arg-type]
    with closing(find(pipeline, [target], budget)) as search:
        return [one.triggers[0] for one in search]  # type: ignore[misc]


def test_each_start_is_where_it_says(pipeline: DiffusionPipeline, target: Target) -> None:
    """One step of Adam moves every number by at most the learning rate."""
    captions = TextLoss(pipeline, [target.prompt.text, "", target.other.prompt.text], SAMPLING).text  # type: ignore[union-attr]
    (name, states), settings = next(iter(captions.items())), QUICK.model_copy(update={"learning_rate": 1e-4})
    for start, place in (("caption", 0), ("empty", 1), ("other", 2)):
        first, second = (one.inputs[name] for one in found(pipeline, target, settings, start))
        assert (first - states[place]).abs().max() <= 1.01e-4 and not torch.equal(first, states[place])
        assert (second - states[place]).abs().max() <= 2.02e-4
    noise = found(pipeline, target, settings, "gaussian")[0].inputs[name]
    assert noise.std().item() == pytest.approx(states[0].std().item(), rel=0.2)
    assert (noise - states[0]).abs().mean() > 0.5 * states[0].std()


def test_an_edits_search_shares_no_noise_with_the_one_that_judges_it(
    pipeline: DiffusionPipeline, target: Target
) -> None:
    name = "encoder_hidden_states"
    for start in ("caption", "gaussian"):
        judging, editing = (
            found(pipeline, target, QUICK, start, who)[-1].inputs[name] for who in ("judging", "editing")
        )
        again = found(pipeline, target, QUICK, start)[-1].inputs[name]
        assert torch.equal(judging, again) and not torch.allclose(judging, editing, atol=1e-2)


def test_the_loss_of_the_target_falls_and_what_was_found_is_drawn(pipeline: DiffusionPipeline, target: Target) -> None:
    """On noise that the search never saw."""
    settings = QUICK.model_copy(update={"steps": 30, "curve": (1,), "samples": 8})
    last = found(pipeline, target, settings, "caption")[-1]
    loss, own = TextLoss(pipeline, [target.prompt.text], SAMPLING), torch.Generator().manual_seed(9)
    latents = latents_of(pipeline, target.image)[None]  # type: ignore[arg-type]
    noise, times = torch.randn(1, 64, *latents.shape[1:], generator=own), loss.process.draw(64, own)[None]
    before, after = (
        loss.gradient(text, latents, noise, times, 64)[1].item()
        for text in (loss.text, {name: value[None] for name, value in last.inputs.items()})
    )
    assert after < 0.98 * before
    caption = Told(last.target, last.text, {name: value[0] for name, value in loss.text.items()})
    images = draw(pipeline, [(caption, 5), (last, 5)], SAMPLING)
    replayed = replay.draw(pipeline, [(Trigger(target.prompt, target.prompt.text), 5)], SAMPLING)
    assert (images[:1].int() - replayed.int()).abs().max() <= 2, "another batch rounds otherwise"
    assert not torch.equal(*images)


def test_another_caption_must_be_there(pipeline: DiffusionPipeline, target: Target) -> None:
    with pytest.raises(ExciseError, match=r"attack.embedding.starts: 'other' starts .* and there is none"):
        found(pipeline, Target(target.prompt, target.image), QUICK, "other")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"steps": 5, "curve": (10, 50)}, "steps = 5 never reaches the first point of the curve, 10"),
        ({"curve": (10, 1)}, "the steps of a curve rise"),
        ({"starts": ("caption", "caption")}, "none twice"),
        ({"starts": ("prayer",)}, "starts"),
    ],
)
def test_a_search_that_shows_nothing_is_no_recipe(section: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Attack.model_validate({"methods": ("replay", "embedding"), "embedding": section})


def test_what_cannot_be_attacked_is_refused_before_the_work(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(tiny_recipe, "attack", methods=("replay", "embedding"))
    recipe = changed(recipe, "model", path=save("cogview4", tmp_path / "model"))
    recipe = changed(recipe, "sampling", size=64)
    with pytest.raises(ExciseError, match="cannot attack a CogView4Pipeline"):
        plan_job(context_of(recipe, tmp_path / "run"))


@pytest.fixture(scope="module")
def job(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Run]:
    """The tiny job with few, short searches; the base is its own twin."""
    recipe = changed(tiny_recipe, "model", twin=tiny_recipe.model.path)
    recipe = changed(changed(recipe, "validate_", seeds=1, random_edits=0, threshold=0.386), "sampling", steps=3)
    recipe = changed(
        changed(recipe, "locate", evidence=False), "attack", methods=("replay", "embedding"), embedding=QUICK
    )
    return recipe, run_job(recipe, tmp_path_factory.mktemp("runs") / "search", say=lambda _: None)


def forgeries(verdict: Verdict) -> dict[str, Verdict]:
    """What a publisher might make of a verdict that search refuses, and what is said of it."""
    first, *rest = verdict.attacked
    none = {key: dict.fromkeys(hits, 0) for key, hits in first.hits.items()}
    edited = verdict.edited.model_copy(update={"other_attacks": {}})
    other = [one.model_copy(update={"p": 0.123, "q": 0.123}) for one in verdict.comparisons]
    none["embedding/caption/2"]["edited"] = 1 + first.hits["embedding/caption/2"]["edited"] % 2
    return {
        "not the rate of its images": verdict.model_copy(update={"attacked": (*rest,)}),
        "attacks: not those of the recipe": verdict.model_copy(update={"attacks": {}}),
        "where it was asked for": verdict.model_copy(update={"models": dict(verdict.models) | {"edited": edited}}),
        "comparisons: not what follows": verdict.model_copy(update={"comparisons": tuple(other)}),
        "certificates: not what follows": verdict.model_copy(update={"certificates": ()}),
        "embedding/caption/2.located_verbatim: not the rate": verdict.model_copy(
            update={"attacked": (first.model_copy(update={"hits": none}), *rest)}
        ),
    }


@pytest.mark.e2e
def test_a_job_says_what_search_brought_back(job: tuple[Recipe, Run]) -> None:
    recipe, run = job
    verdict = read_verdict(run)
    assert list(verdict.attacks) == ["replay", *(f"embedding/{s}/{n}" for s in QUICK.starts for n in (1, 2))]
    checks = [check for check in verdict.checks if check.name == "embedding_replication"]
    assert len(checks) == 4 and all(check.value is not None for check in checks)
    assert {one.against for one in verdict.comparisons} == {"twin"} and len(verdict.comparisons) == 16
    for key in list(verdict.attacks)[1:]:
        base, twin = (verdict.models[name].other_attacks[key] for name in ("base", "twin"))
        assert all(twin[name] == base[name] for name in twin)  # the same model, searched with the same noise
    assert verdict.fate in ("hidden", "unclear", "still there")
    assert list(search_faults(verdict, recipe)) == []
    for said, forged in forgeries(verdict).items():
        assert any(said in fault for fault in search_faults(forged, recipe)), said
    page, summary = run.report.read_text(), run.summary.read_text()
    assert "Searches: hidden, or gone?" in page and "what embedding/caption/2 brought nearest" in page
    assert "this image comes back by" in summary and "This image comes back by" in page
    assert "embedding/other/1" in summary and verdict.certificates[0].sha256[:16] in page
    assert "embedding search (2 steps; from: caption, other)" in summary


@pytest.mark.e2e
def test_a_killed_search_resumes_at_its_chunk(job: tuple[Recipe, Run], tmp_path: Path) -> None:
    recipe, whole = job
    run = Run(tmp_path)
    for name in ("edited", "edit_record", "subspace", "evidence"):
        source, place = getattr(whole, name), getattr(run, name)
        shutil.copytree(source, place) if source.is_dir() else shutil.copy(source, place)
    sets = prompt_sets(recipe)
    context = context_of(recipe, run.folder, sets)
    blocks = blocks_of(recipe, questions_of(sets), subjects_of(recipe, run, context.base))
    searches = [block for block in blocks if block.round.attack == "embedding"]
    assert {len(block.prompts) for block in searches} == {1, 2}  # three images in chunks of two
    shutil.copytree(whole.partial("attack"), run.partial("attack")) if whole.partial("attack").exists() else attack.run(
        context
    )
    files = [block.stored(run.partial("attack")) for block in searches]
    kept = {file: file.stat().st_mtime_ns for file in files[1:]}
    files[0].unlink()
    attack.run(context)
    assert all(file.stat().st_mtime_ns == before for file, before in kept.items())
    for file in (whole.images / "embedding").rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (run.images / file.relative_to(whole.images)).read_bytes()


@pytest.mark.e2e
def test_on_the_testbed_it_finds_the_memorized_image_and_no_other() -> None:
    """The same budget, the same prompts; a never-seen image in place of one's own is a wrong target."""
    bed = Path("checkpoints/testbed")
    checkpoint = Checkpoint.open(bed / "base")
    pipeline, side = checkpoint.load(torch.float32, torch.device("cpu")), checkpoint.side(None)
    prompts = [prompt for prompt in read_prompts(bed / "prompts" / "memorized.csv") if prompt.kind == "verbatim"][1:3]
    never = read_prompts(bed / "prompts" / "never_seen.csv")[1:3]
    targets = [load_target(prompt, side, side) for prompt in (*prompts, *never)]
    wanted = [Target(prompt, target.image) for prompt, target in zip((*prompts, *prompts), targets, strict=True)]
    budget = Budget.of(Embedding(steps=10, curve=(10,)), "caption", Sampling(steps=10, guidance=3.0, batch=64))
    rule = Rule.of(load_recipe(Path("recipes/testbed.toml")).validate_)
    with closing(find(pipeline, wanted, budget)) as search:
        triggers = next(search).triggers
        images = draw(pipeline, [(trigger, 1000) for trigger in triggers], budget.sampling) / 255.0
    hits = [bool(rule.replicated(images[i : i + 1], target)) for i, target in enumerate(targets)]
    assert all(hits[:2]) and not any(hits[2:])
