"""validate on a whole job of the tiny checkpoint: every model, every question, every rate with its interval."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from excise.prompts.prompt import Prompt
from excise.recipe import Verdict
from excise.run.job_record import JobRecord
from excise.run.layout import Run
from excise.run.results import read_edit_record, read_located, read_verdict
from excise.stages import attack, report, validate
from tests.conftest import changed
from tests.jobs import context_of
from tests.trial.tried import THRESHOLD, Tried

MEMORIZED = {"located_verbatim", "located_template", "held_out_verbatim", "held_out_template"}


def copied(tried: Tried, folder: Path) -> Run:
    """What validate reads, and nothing else."""
    run = Run(folder)
    for source in (tried.run.images, tried.run.edited):
        shutil.copytree(source, folder / source.name)
    for source in (tried.run.edit_record, tried.run.subspace, tried.run.evidence):
        shutil.copy(source, folder)
    return run


def test_every_model_is_tried_on_every_question(tried: Tried) -> None:
    models = tried.verdict.models
    assert list(models) == ["base", "edited", "twin", "random-1"]
    for name in ("base", "edited"):
        assert set(models[name].sets) == MEMORIZED | {"never_seen"}
    for name in ("twin", "random-1"):
        assert set(models[name].sets) == MEMORIZED
    for model in models.values():
        assert model.agreement is not None and model.seed_diversity is not None
        assert all(found.seeds == 3 and found.prompts > 0 for found in model.sets.values())


def test_weights_changed_are_those_of_the_edit(tried: Tried) -> None:
    models, located = tried.verdict.models, read_located(tried.run).selected
    assert models["base"].weights_changed == 0 and models["twin"].weights_changed is None
    assert models["edited"].weights_changed == models["random-1"].weights_changed == located > 0
    assert read_edit_record(tried.run).zeroed == located


def test_every_rate_has_its_interval(tried: Tried) -> None:
    def walk(value: object) -> int:
        if isinstance(value, list):
            return sum(map(walk, value))
        if not isinstance(value, dict):
            return 0
        seen = 0
        for name, interval in (
            ("memorization_rate", "interval"),
            ("images_ever_replicated", "images_ever_replicated_interval"),
            ("rate", "interval"),
            ("value", "interval"),
            ("false_positive_rate", "interval"),
            ("own_rate", "own_interval"),
        ):
            if isinstance(value.get(name), float) and "tiles" not in value:
                if value[interval] is None:
                    assert name == "value"  # no rate, and a single template: nothing to resample
                    continue
                low, high = value[interval]
                assert low <= value[name] <= high
                seen += 1
        return seen + sum(map(walk, value.values()))

    assert all(walk(tried.verdict_json[part]) > 0 for part in ("models", "checks", "threshold"))


def test_measures_of_each_image_give_the_rates(tried: Tried) -> None:
    rates = {found.memorization_rate for model in tried.verdict.models.values() for found in model.sets.values()}
    assert len(rates) > 2
    for name, model in tried.verdict.models.items():
        assert tried.measures.models[name].sets.keys() == model.sets.keys()
        for key, found in model.sets.items():
            distance = np.array(tried.measures.models[name].sets[key].distance)
            assert distance.shape == (found.prompts, found.seeds) == (len(tried.measures.sets[key].prompts), 3)
            assert found.memorization_rate == pytest.approx((distance <= THRESHOLD).mean(), abs=1e-6)
            ever = (distance <= THRESHOLD).any(axis=1).mean()
            assert found.images_ever_replicated == pytest.approx(ever, abs=1e-6)


def test_the_questions_say_what_was_asked(tried: Tried) -> None:
    asked, sets = tried.measures.sets, tried.sets
    located = [prompt for group in sets.located for prompt in group]
    for place, prompts in (("located", located), ("held_out", sets.held_out)):
        for kind in ("verbatim", "template"):
            expected = [(p.text, p.group, p.kind) for p in prompts if p.kind == kind]
            assert [(p.prompt, p.group, p.kind) for p in asked[f"{place}_{kind}"].prompts] == expected
    assert asked["held_out_verbatim"].seeds == (1000, 1001, 1002)
    assert asked["judged"].seeds == (1000, 1001)  # as many as drift needs
    assert [p.prompt for p in asked["judged"].prompts] == [p.text for p in sets.judged]
    found = tried.verdict.evidence
    counts = (found.located, found.held_out, found.judged, found.never_seen, found.without_image)
    assert counts == (len(located), len(sets.held_out), 8, 2, 0) and found.located + found.held_out == 14


def test_pictures_are_tied_to_the_numbers(tried: Tried) -> None:
    images = tried.run.images
    assert tried.verdict.images == {
        file.relative_to(images).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in images.rglob("*.safetensors")
    }
    assert "replay/random-1.judged.safetensors" in tried.verdict.images


def test_the_verdict_states_its_settings(tried: Tried) -> None:
    settings, recipe = tried.verdict.settings, tried.recipe
    assert set(settings) == {"model", "sampling", "attack", "validate", "verdict"}
    assert settings["validate"]["threshold"] == THRESHOLD == tried.verdict.threshold.value
    assert settings["verdict"] == recipe.verdict.model_dump(mode="json")
    assert tried.verdict.kinds == ("template", "verbatim") and tried.verdict.recipe == recipe.name
    assert not tried.verdict.accepted and tried.verdict.reasons  # random weights have nothing to be removed


def test_measuring_again_gives_the_same_verdict(tried: Tried, tmp_path: Path) -> None:
    run = copied(tried, tmp_path)
    validate.run(context_of(tried.recipe, run.folder, tried.sets))
    assert run.measures.read_bytes() == tried.run.measures.read_bytes()
    again = read_verdict(run)
    edited = again.models["edited"].model_copy(update={"checkpoint": tried.verdict.edited.checkpoint})
    assert again.models | {"edited": edited} == tried.verdict.models
    for part in ("checks", "reasons", "accepted", "threshold", "images", "evidence", "settings"):
        assert getattr(again, part) == getattr(tried.verdict, part)
    assert again.seconds.keys() == {"base", "edited", "twin", "random-1", "measures"}


@pytest.mark.parametrize("never_seen", [True, False])
def test_memorized_prompts_without_pictures_leave_the_rest_to_be_measured(
    tried: Tried, tmp_path: Path, never_seen: bool
) -> None:
    """And refuse: there is nothing that an image could be compared with. No template is held out here."""

    def bare(prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
        return tuple(dataclasses.replace(prompt, image=None, mask=None) for prompt in prompts)

    located, held_out = tuple(map(bare, tried.sets.located)), bare(tried.sets.held_out)
    held_out = tuple(prompt for prompt in held_out if prompt.kind == "verbatim")
    sets = dataclasses.replace(
        tried.sets, located=located, held_out=held_out, never_seen=tried.sets.never_seen if never_seen else ()
    )
    run = copied(tried, tmp_path)
    shutil.rmtree(run.images)
    context = context_of(changed(tried.recipe, "validate_", seeds=1), run.folder, sets)
    JobRecord().save(run)
    for stage in (attack, validate, report):
        stage.run(context)
    found = read_verdict(run)
    assert [set(model.sets) for model in found.models.values()] == [{"never_seen"} if never_seen else set()] * 2 + [
        set(),
        set(),
    ]
    statuses = {check.name: check.status for check in found.checks}
    assert statuses["held_out_replication"] == statuses["base_replication"] == "not measured"
    assert statuses["false_positives"] != ("not measured" if never_seen else "passed")
    assert found.edited.drift is not None and found.edited.drift.value > 0 and found.edited.agreement is not None
    assert not found.accepted and any("no verbatim prompt with a training image" in why for why in found.reasons)
    assert found.evidence.without_image == 11 and found.kinds == ("template", "verbatim")
    assert "11 memorized or never-seen prompts name no training image" in run.report.read_text(encoding="utf-8")
    table = [line for line in run.summary.read_text(encoding="utf-8").splitlines() if line.startswith("| model |")]
    assert ("| model | never seen |" in table) == never_seen and "| model |" not in table


def test_without_a_judge_agreement_is_not_measured_and_refuses(tried: Tried, tmp_path: Path) -> None:
    loose = {name: 1.0 for name in Verdict.model_fields if name not in ("base_replication", "false_discovery")}
    limits = Verdict.model_validate(loose | {"base_replication": 0.0, "drift": 100.0})
    recipe = changed(tried.recipe, "validate_", judge=None).model_copy(update={"verdict": limits})
    run = copied(tried, tmp_path)
    validate.run(context_of(recipe, run.folder, tried.sets))
    found = read_verdict(run)
    assert found.edited.agreement is None
    assert not found.accepted
    assert len(found.reasons) == 1 and "not measured" in found.reasons[0]
