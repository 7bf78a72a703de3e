"""An audit within a job: who is asked about what, that a stopped one goes on, and what a verdict makes of it."""

from __future__ import annotations

import shutil

import pytest

from excise.errors import ExciseError
from excise.job.attackable import check_attacks
from excise.measures.membership import certify
from excise.prompts.questions import CONCEPTS, Question, questions_of
from excise.recipe import Audit, Recipe
from excise.release.search_faults import search_faults
from excise.run.images import MEMBERSHIP, read_membership
from excise.run.layout import Run
from excise.run.results import read_verdict
from excise.stages import attack, validate
from excise.trial.subjects import subjects_of
from excise.trial.telling import tellings_of
from excise.verdict.models import Verdict
from tests.conftest import changed
from tests.jobs import context_of
from tests.trial.tried import Tried

ASKED = {"located_verbatim": 3, "held_out_verbatim": 3, "never_seen": 2}


@pytest.fixture(scope="module")
def audited(tried: Tried, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Run]:
    """A run with an audit, from its attack on."""
    recipe = changed(tried.recipe, "attack", audit=Audit(images=3, steps=1, samples=2, chunk=2))
    recipe = changed(changed(recipe, "verdict", false_discovery=0.9), "validate_", random_edits=0, seeds=1)
    run = Run(tmp_path_factory.mktemp("audited"))
    shutil.copytree(tried.run.edited, run.edited)
    for source in (tried.run.edit_record, tried.run.subspace, tried.run.evidence):
        shutil.copy(source, run.folder)
    for stage in (attack, validate):
        stage.run(context_of(recipe, run.folder, tried.sets))
    return recipe, run


def test_three_models_are_asked_about_the_same_images(audited: tuple[Recipe, Run]) -> None:
    _, run = audited
    scores = read_membership(run.images)
    assert list(scores) == ["base", "edited", "twin"]
    for asked in scores.values():
        assert {key: len(found) for key, found in asked.items()} == ASKED
    assert scores["base"] == scores["twin"] != scores["edited"]  # the twin is the base here


def test_a_stopped_audit_goes_on_to_the_same(audited: tuple[Recipe, Run], tried: Tried) -> None:
    recipe, run = audited
    whole = (run.images / MEMBERSHIP).read_bytes()
    context, partial = context_of(recipe, run.folder, tried.sets), run.partial("attack")
    subjects = subjects_of(recipe, run, tried.context.base)
    files = [one.stored(partial) for one in tellings_of(recipe, questions_of(tried.sets), subjects)]
    assert len(files) == 3 * 5 and all(file.exists() for file in files)
    for file in files[::3]:
        file.unlink()
    kept = {file: file.stat().st_mtime_ns for file in files if file.exists()}
    attack.run(context)
    assert (run.images / MEMBERSHIP).read_bytes() == whole
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


def test_the_verdict_has_a_check_of_it(audited: tuple[Recipe, Run]) -> None:
    recipe, run = audited
    verdict, scores = read_verdict(run), read_membership(run.images)
    checks = {check.set: check for check in verdict.checks if check.name == "membership"}
    assert set(checks) == {"located_verbatim", "held_out_verbatim"}
    for key, check in checks.items():
        found = certify(scores["edited"][key], scores["edited"]["never_seen"], 0.9)
        assert check.value == pytest.approx(found.members.mean(), abs=1e-6) and check.cases == 3
        assert check.status == ("passed" if check.value <= 0.1 else "failed") and set(check.controls) == {
            "base",
            "twin",
        }
        assert verdict.edited.membership[key].pairs == pytest.approx(found.area, abs=1e-6)
        assert f"edited {100 * found.area:.0f} %" in check.note
    assert not verdict.models["base"].membership.keys() - checks.keys()
    assert not [fault for fault in search_faults(verdict, recipe) if "membership" in fault]


def forged(verdict: Verdict, model: str, key: str, **values: object) -> Verdict:
    found = verdict.models[model]
    told = found.membership | {key: found.membership[key].model_copy(update=values)}
    models = verdict.models | {model: found.model_copy(update={"membership": told})}
    return verdict.model_copy(update={"models": models})


def test_numbers_that_do_not_follow_from_the_scores_are_found(audited: tuple[Recipe, Run]) -> None:
    recipe, run = audited
    verdict = read_verdict(run)
    told = verdict.edited.membership["located_verbatim"]
    for values in ({"pairs": 0.123}, {"called": 1.0 - told.called}, {"scores": told.scores[:2]}, {"reference": (0.0,)}):
        faults = list(search_faults(forged(verdict, "edited", "located_verbatim", **values), recipe))
        assert any(fault.startswith("models.edited.membership.located_verbatim: not") for fault in faults), values
    silent = verdict.models | {"twin": verdict.models["twin"].model_copy(update={"membership": {}})}
    assert any("audited for" in fault for fault in search_faults(verdict.model_copy(update={"models": silent}), recipe))
    without = changed(recipe, "attack", audit=None)
    assert any("audited for []" in fault for fault in search_faults(verdict, without))


def test_what_cannot_be_audited_is_refused_before(audited: tuple[Recipe, Run], tried: Tried) -> None:
    recipe, asked = audited[0], questions_of(tried.sets)
    check_attacks(recipe, tried.context.base, asked)
    strict = changed(recipe, "verdict", false_discovery=0.05)
    with pytest.raises(ExciseError, match=r"attack\.audit: there are 2 never-seen .* fewer than 19 none"):
        check_attacks(strict, tried.context.base, asked)
    concept: dict[Question, object] = {**asked, CONCEPTS[0]: asked[next(iter(asked))]}
    with pytest.raises(ExciseError, match=r"attack\.audit: it needs memorized images"):
        check_attacks(changed(recipe, "attack", methods=("replay",)), tried.context.base, concept)  # type: ignore[arg-type]
