"""The model card, as the Hub reads it and as people do."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard

from excise.release.provenance import read_record


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
    assert all(
        {"this model", "the base, for comparison"} == {m["name"].split(", ", 1)[1] for m in found}
        for found in named.values()
    )


def test_its_numbers_are_the_verdicts(release: Path) -> None:
    models = read_record(release).verdict.models
    (model,) = ModelCard.load(release / "README.md").data.to_dict()["model-index"]
    said = {
        (result["dataset"]["type"], metric["name"]): metric["value"]
        for result in model["results"]
        for metric in result["metrics"]
    }
    names = {"this model": models["edited"], "the base, for comparison": models["base"]}
    assert said == {
        (f"excise-{key.replace('_', '-')}", f"memorization rate, {name}"): found.memorization_rate
        for name, measured in names.items()
        for key, found in measured.sets.items()
    }
    assert len(said) == 10


def test_what_people_read(release: Path) -> None:
    text = ModelCard.load(release / "README.md").text
    record = read_record(release)
    assert "restricts use" in text and "Checks that the publisher waived" in text
    assert all(check.question in text for check in record.verdict.waived) and len(record.verdict.waived) == 6
    assert "What this does not prove" in text and "excise run excise/recipe.toml" in text
    zeroed = sum(tensor.zeroed or 0 for tensor in record.edit.tensors.values())
    assert f"{zeroed:,} of its weights set to zero" in text
