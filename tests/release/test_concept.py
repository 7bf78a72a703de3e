"""The release of an edit that forgets a concept: card, record and verify, and numbers on it that cannot be true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from excise.measures.judge import Judge, save_judge
from excise.recipe import Recipe, load_recipe
from excise.release.concept_faults import concept_faults
from excise.release.names import RECIPE
from excise.release.provenance import read_record
from excise.verdict.models import Verdict
from tests.conftest import COLOURS, QUESTIONS, write_table
from tests.jobs import excise
from tests.release.finished import finished_run

pytestmark = pytest.mark.e2e

SEARCH = "embedding/empty/1"


@pytest.fixture(scope="module")
def forgotten(tiny_recipe: Recipe, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a release, ``run/release``, made from ``base``."""
    folder = tmp_path_factory.mktemp("forgotten")
    judge = Judge(QUESTIONS)
    judge.heads["object"].bias.data[judge.labels_of("ring")["object"]] = 100.0  # it reads a ring off everything
    save_judge(judge, folder / "judge")
    table = write_table(folder / "rings.csv", [{"prompt": f"a {c} ring on a plain background"} for c in COLOURS])
    changes = {
        "prompts.memorized": str(table),
        "prompts.concept": "ring",
        "collect.groups": 2,
        "validate.judge": str(folder / "judge"),
        "verdict.base_concept": "unchecked",
        "verdict.concept_agreement": 1.0,
        "verdict.concept_search": "unchecked",
        "attack.methods": ["replay", "embedding"],
        "attack.embedding.starts": ["empty"],
        "attack.embedding.steps": 1,
        "attack.embedding.images": 3,
        "attack.embedding.seeds": 1,
    }
    finished_run(folder, tiny_recipe, tiny_checkpoint, changes)
    return folder


def test_a_stranger_can_check_it_and_its_card_speaks_of_the_concept(forgotten: Path) -> None:
    release = forgotten / "run" / "release"
    checked = excise("verify", release, "--base", forgotten / "base")
    assert checked.exit_code == 0, checked.output
    card = (release / "README.md").read_text(encoding="utf-8")
    assert "# tiny, “ring” excised" in card and "to keep it from drawing “ring”; how far" in card
    assert "Share of images in which a judge reads “ring”, of every model" in card
    assert "| model | located concept | held-out concept | caption agreement | drift |" in card
    assert "Memorization rate" not in card and "concept_agreement" in card.partition("\n# ")[0]
    record = read_record(release).verdict
    assert record.concept == "ring" and record.kinds == ("concept",) and record.evidence.without_image == 8


def _changed(verdict: Verdict, change: Any) -> Verdict:
    whole = json.loads(verdict.model_dump_json())
    change(whole)
    return Verdict.model_validate_json(json.dumps(whole))


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("concept", "owl", "verdict.concept: 'owl', and the recipe's is 'ring'"),
        ("kinds", ["verbatim"], "verdict.kinds: ['verbatim'], and the concept is 'ring'"),
        ("models.base.concept", {"judged": None}, "verdict.models.base.concept: ['judged'], and there are"),
        ("models.edited.concept", {}, "verdict.models.edited.concept: [], where the base has"),
        ("models.edited.concept.held_out_concept.rate", 0.3, "held_out_concept: rate: 0.3 is no share of 8"),
        ("models.edited.concept.held_out_concept.drop", None, "held_out_concept: drop: None, where the base's rate"),
        ("models.edited.concept.located_concept.prompts", 3, "located_concept: of 3 prompts, where there are 4"),
        ("models.edited.concept.located_concept.seeds", 4, "located_concept.seeds: 4, not the recipe's"),
        ("models.edited.concept_searched", {}, "models.edited.concept_searched: [], where it was asked for"),
        (
            f"models.edited.concept_searched.{SEARCH}.located_concept.rate",
            0.4,
            "located_concept: rate: 0.4 is no share",
        ),
        (f"models.edited.concept_searched.{SEARCH}.located_concept.prompts", 9, "images, where the recipe says 3"),
        (f"models.edited.concept_searched.{SEARCH}.located_concept.seeds", 2, "located_concept.seeds: 2, not the"),
    ],
)
def test_what_cannot_be_true_is_found(forgotten: Path, place: str, value: Any, fault: str) -> None:
    release = forgotten / "run" / "release"
    recipe, verdict = load_recipe(release / RECIPE), read_record(release).verdict
    assert list(concept_faults(verdict, recipe)) == []

    def change(whole: Any) -> None:
        *path, last = place.split(".")
        for name in path:
            whole = whole[name]
        if isinstance(value, dict) and value:
            value.update({key: next(iter(whole[last].values())) for key in value})
        whole[last] = value

    found = [f"{where}: {said}" for where, said in concept_faults(_changed(verdict, change), recipe)]
    assert any(fault in one for one in found), found
