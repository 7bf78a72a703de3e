"""What a user is told before a job begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.job.notes import notes_of
from excise.measures.judge import Judge, save_judge
from excise.recipe import Recipe
from tests.conftest import MEMORIZED, QUESTIONS, changed, write_table
from tests.jobs import context_of, excise, write_recipe


def notes(recipe: Recipe, folder: Path, *about: str) -> list[str]:
    """The notes that begin with one of some keys."""
    return [note for note in notes_of(context_of(recipe, folder)) if note.startswith(about)]


@pytest.fixture
def measurable(tiny_recipe: Recipe, tmp_path: Path) -> Recipe:
    """A recipe of which everything can be measured."""
    save_judge(Judge(QUESTIONS), tmp_path / "judge")
    return changed(tiny_recipe, "validate_", judge=tmp_path / "judge")


def bare(folder: Path) -> Path:
    """A table that holds prompts alone."""
    return write_table(folder / "bare.csv", [{"prompt": text} for text in MEMORIZED])


def test_float16_on_a_cpu_is_told_with_the_cure(tiny_recipe: Recipe, tmp_path: Path) -> None:
    for dtype in ("auto", "float32", "bfloat16"):
        assert not notes(changed(tiny_recipe, "model", dtype=dtype), tmp_path, "model.dtype")
    (note,) = notes(changed(tiny_recipe, "model", dtype="float16"), tmp_path, "model.dtype")
    assert "float16 on a CPU" in note and 'use "float32"' in note


def test_where_everything_can_be_measured_nothing_is_told(measurable: Recipe, tmp_path: Path) -> None:
    assert not notes(measurable, tmp_path, "verdict.", "prompts.held_out", "model.")
    assert all(not note.endswith("name no training image") for note in notes_of(context_of(measurable, tmp_path)))


def test_a_table_without_images_is_told_with_what_it_costs(measurable: Recipe, tmp_path: Path) -> None:
    recipe = changed(measurable, "prompts", memorized=bare(tmp_path))
    told = notes(recipe, tmp_path, "prompts.memorized: 8 of 8", "verdict.", "prompts.held_out")
    assert told[0] == (
        "prompts.memorized: 8 of 8 prompts name no training image (column image): base and edited model draw them for "
        "the report, and nothing is measured on them; name the images that they should not bring back"
    )
    assert [note.split(":")[0] for note in told[1:]] == [
        "verdict.base_replication, verdict.held_out_replication, verdict.identification",
        "verdict.located_replication, verdict.identification",
        "prompts.held_out",
    ]
    assert "no verbatim prompt with a training image is held out: the verdict will refuse" in told[1]
    assert '"unchecked"' in told[1] and "whatever is waived" in told[3]


def test_what_no_judge_reads_and_what_has_no_control_is_told(
    measurable: Recipe, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    judged = write_table(tmp_path / "judged.csv", [{"prompt": "nothing that a judge could name"}])
    for recipe in (changed(measurable, "prompts", judged=judged), tiny_recipe):
        (note,) = notes(recipe, tmp_path, "verdict.")
        assert note.startswith("verdict.agreement_drop: cannot be measured, because the recipe names no judge")
    (note,) = notes(changed(measurable, "prompts", never_seen=None), tmp_path, "verdict.")
    assert note.startswith("verdict.false_positives: cannot be measured, because the recipe names no never-seen images")
    waived = changed(tiny_recipe, "verdict", agreement_drop=None, false_positives=None)
    assert not notes(changed(waived, "prompts", never_seen=None), tmp_path, "verdict.")


def test_what_no_judge_reads_of_a_concept_is_told(measurable: Recipe, tmp_path: Path) -> None:
    for concept, read in (("ring", True), ("gargoyle", False)):
        rows = [{"prompt": f"a {concept}, number {i}"} for i in range(8)]
        table = write_table(tmp_path / f"{concept}.csv", rows)
        recipe = changed(measurable, "prompts", memorized=table, concept=concept)
        told = notes(recipe, tmp_path, "verdict.", "prompts.held_out", "prompts.memorized: 8 of 8")
        keys = [note.partition(":")[0] for note in told]
        assert keys == (
            [] if read else ["verdict.base_concept, verdict.concept_agreement", "verdict.concept_agreement"]
        )
    without = changed(recipe, "validate_", judge=None)
    assert "no judge reads what prompts.concept names" in notes(without, tmp_path, "verdict.")[0]


def test_where_nothing_is_held_out_the_end_is_told(measurable: Recipe, tmp_path: Path) -> None:
    """Unless the images are searched for, beside what never saw them."""
    recipe = changed(measurable, "prompts", held_out=0.0)
    (told,) = notes(recipe, tmp_path, "prompts.held_out")
    assert told.startswith("prompts.held_out: no memorized prompt is held out") and "add 'embedding'" in told
    searched = changed(recipe, "attack", methods=("replay", "embedding"))
    assert not notes(searched, tmp_path, "prompts.held_out")
    alone = changed(changed(searched, "prompts", never_seen=None), "model", twin=None)
    assert notes(alone, tmp_path, "prompts.held_out") == [told]


def test_what_a_training_lacks_is_told(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(changed(tiny_recipe, "prompts", memorized=bare(tmp_path)), "edit", method="unlearn")
    (beside,) = notes(recipe, tmp_path, "prompts.neighbours")
    assert "the base's pictures of ordinary prompts" in beside
    located = sum(map(len, context_of(recipe, tmp_path).sets.located))
    (own,) = notes(recipe, tmp_path, f"prompts.memorized: {located} of {located} located")
    assert own.endswith("is searched for and unlearned instead")
    assert not notes(changed(tiny_recipe, "edit", method="zero"), tmp_path, "prompts.neighbours")


def test_plan_and_run_print_the_same_notes(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(tiny_recipe, "prompts", memorized=bare(tmp_path))
    recipe = changed(changed(recipe, "model", dtype="float16"), "collect", groups=2)
    written = write_recipe(tmp_path / "recipe.toml", recipe)
    expected = notes_of(context_of(recipe, tmp_path))
    assert len(expected) > 6
    for command in (["plan", written], ["run", written, "--until", "collect"]):
        result = excise(*command, "--out", tmp_path / "run")
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()  # a run that no terminal shows says the time first
        assert all(sum(line.endswith(note) for line in lines) == 1 for note in expected)
