"""The model card, as the Hub reads it and as people do."""

from __future__ import annotations

import shutil
from pathlib import Path

from huggingface_hub import ModelCard

from excise.recipe import Verdict as Limits
from excise.release.card import waived
from excise.release.provenance import read_record
from excise.verdict.decide import decide
from tests.release.forging import change_recipe, found
from tests.report.test_searches import searched
from tests.verdict.searched import ATTACKS


def test_what_is_not_known_stands_first(release: Path) -> None:
    text = (release / "README.md").read_text(encoding="utf-8").partition("\n# ")[2]
    assert text.splitlines()[2].startswith("> **Whether the images are hidden or gone is not known")


def test_the_card_is_one_that_the_hub_reads(release: Path) -> None:
    data = ModelCard.load(release / "README.md").data.to_dict()
    assert (data["license"], data["library_name"], data["pipeline_tag"]) == (
        "creativeml-openrail-m",
        "diffusers",
        "text-to-image",
    )
    assert (data["base_model"], data["base_model_relation"]) == ("acme/tiny", "finetune")
    assert set(data["tags"]) == {"tiny", "excise", "memorization"}
    (model,) = data["model-index"]
    named = {result["dataset"]["name"]: result["metrics"] for result in model["results"]}
    assert {"held-out verbatim prompts", "located verbatim prompts", "never seen prompts"} <= named.keys()
    assert all({metric["name"] for metric in found} == {"memorization rate"} for found in named.values())


def test_its_metadata_holds_this_models_numbers_alone(release: Path) -> None:
    edited = read_record(release).verdict.edited
    (model,) = ModelCard.load(release / "README.md").data.to_dict()["model-index"]
    said = {result["dataset"]["type"]: metric["value"] for result in model["results"] for metric in result["metrics"]}
    assert said == {f"excise-{key.replace('_', '-')}": found.memorization_rate for key, found in edited.sets.items()}
    assert len(said) == 5


def test_the_bases_numbers_stand_in_the_text(release: Path) -> None:
    text, verdict = ModelCard.load(release / "README.md").text, read_record(release).verdict
    (row,) = (line for line in text.splitlines() if line.startswith("| base |"))
    for measured in verdict.base.sets.values():
        assert f"{100 * measured.memorization_rate:.1f}\u00a0%" in row
    (row,) = (line for line in text.splitlines() if line.startswith("| edited |"))
    assert verdict.edited.drift and f"{verdict.edited.drift.value:.3f}" in row


def test_a_waived_check_shows_the_limit_that_it_misses(release: Path) -> None:
    """Random weights replicate nothing, and so do not reach what excise asks of a base."""
    text = ModelCard.load(release / "README.md").text
    assert "* replication of held-out verbatim prompts, base: 0.0\u00a0%, which **misses** excise's own limit" in text
    assert "limit, at least 50.0\u00a0%" in text
    assert "prompts, edited: 0.0\u00a0%, which keeps to excise's own limit, at most 25.0\u00a0%" in text
    assert "edited against base: not measured" in text


def test_it_says_where_to_get_what_checks_it(release: Path, stripped: Path, tmp_path: Path) -> None:
    assert "a Python program; where to get it, the publisher can say." in (release / "README.md").read_text()
    copy = shutil.copytree(stripped, tmp_path / "copy")
    change_recipe(copy, "[release]\n", '[release]\nexcise = "https://example.org/excise"\n')
    assert found(copy) == []
    assert "a Python program: get it at <https://example.org/excise>." in (copy / "README.md").read_text()


def test_what_people_read(release: Path) -> None:
    text = ModelCard.load(release / "README.md").text
    record = read_record(release)
    assert "restricts use" in text and "Checks that the publisher waived" in text
    assert all(check.question in text for check in record.verdict.waived) and len(record.verdict.waived) == 6
    assert "What this does not prove" in text and "excise run excise/recipe.toml" in text
    zeroed = sum(tensor.zeroed or 0 for tensor in record.edit.tensors.values())
    assert f"{zeroed:,} of its weights set to zero" in text


def test_a_waived_search_shows_what_it_brought_back() -> None:
    verdict = searched()
    checks, _ = decide(
        verdict.models,
        verdict.threshold,
        ["verbatim"],
        Limits(embedding_replication=None),
        ATTACKS,
        verdict.comparisons,
    )
    said = waived(verdict.model_copy(update={"checks": checks, "kinds": ("verbatim",)}))
    assert any("embedding search, held-out verbatim images" in line and "**misses**" in line for line in said)
