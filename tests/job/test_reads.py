"""What a stage says that it depends on is what it was seen to read; and a changed key recomputes just its readers."""

from __future__ import annotations

import importlib
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from excise.checkpoint import Checkpoint
from excise.job.demand import demand_of
from excise.job.fingerprints import look_up
from excise.job.names import NAMES
from excise.job.sequence import STAGES, TRAINING, Fingerprints, Stage
from excise.measures.judge import Judge, save_judge
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import AutoEdit, CompensateEdit, NemoEdit, ProjectEdit, Recipe, Section, UnlearnEdit
from excise.run.job_record import JobRecord
from tests.conftest import QUESTIONS, changed, write_table
from tests.job.tracing import Reads, leaves, traced
from tests.jobs import context_of

pytestmark = pytest.mark.e2e

DEMAND = {"locate.contrast", "locate.rows", "locate.evidence"}
"""Keys that the demand is made of, beside what the edit needs: the job reads them for collect."""
UNREAD = {"collect.groups", "model.configuration", *(f"edit.auto.{key}" for key in AutoEdit.model_fields)}
"""Keys beside those of the prompts and of the release that no stage reads but the report, which lists all of them: they
make the sets, the folder that a single file is converted into, and the recipe that the stages are given."""
OTHER = {
    "edit.method": "random",
    "edit.then": ("random",),
    "locate.contrast": "ordinary",
    "attack.methods": ("replay", "replay"),
    "collect.sites": "ffn_first",
}
"""Another value of keys that are names."""


EDITS = ("edit.method", "edit.then", "edit.random", "edit.project", "edit.compensate", "edit.nemo", "edit.unlearn")
SEARCHES = ("embedding", "prompt", "relearn", "revive", "samplers")
"""Attacks that have a section."""
SPARE = {"attack.samplers.seed"}
"""Keys that every search has and this one no use for: nothing in it is random but the noise that images start from."""
QUICK: dict[str, Any] = {
    "images": 1,
    "seeds": 1,
    "steps": 1,
    "samples": 1,
    "proposals": 2,
    "starts": ("empty",),
    "on": ("itself",),
    "ways": ("gibbs", "reword"),
    "fills": ("least_squares",),
    "guidance": (3.0,),
    "other_steps": (1,),
    "schedulers": ("DDPMScheduler",),
    "strengths": (0.6,),
}
"""Values of keys that searches take their time by; between them they read every other key."""


def quick(recipe: Recipe, name: str) -> Section:
    """The section of an attack, for a search that is soon over."""
    found: Section = getattr(recipe.attack, name)
    return found.model_copy(update={key: value for key, value in QUICK.items() if key in type(found).model_fields})


TOLD_APART = NemoEdit(seeds=2, deviations=-1e6, start=2e6, least=1e6, step=1e6)
"""Every prompt counts as memorized, and an output of every layer is tried."""
DRAWN = 1
"""Variants, the first of them, of which pictures are drawn; the others differ by what an edit reads."""


def variants(recipe: Recipe, folder: Path) -> list[Recipe]:
    """Recipes that between them use every option that makes a stage read another key."""
    save_judge(Judge(QUESTIONS), folder / "judge")
    recipe = changed(changed(recipe, "sampling", steps=2, batch=64), "collect", calls=2, chunk=64)
    recipe = changed(
        recipe, "attack", methods=("replay", *SEARCHES), **{name: quick(recipe, name) for name in SEARCHES}
    )
    plain = changed(changed(recipe, "validate_", judge=folder / "judge", seeds=1), "model", twin=recipe.model.path)
    replayed = changed(plain, "attack", methods=("replay",))
    other = changed(replayed, "locate", contrast="ordinary", rows="conditional", unit="columns", false_discovery=0.9)
    other = changed(other, "locate", sparsity=0.1)
    return [
        plain,
        changed(changed(other, "collect", noise="own"), "edit", method="random"),
        changed(replayed, "edit", method="unlearn", unlearn=UnlearnEdit(steps=1, kept_rows=1, pictures=1)),
        changed(replayed, "edit", method="project", project=ProjectEdit(cost=0.5, threshold=1e-6)),
        changed(
            replayed,
            "edit",
            method="compensate",
            compensate=CompensateEdit(dropped="directions", cost=0.5, threshold=1e-6),
        ),
        changed(replayed, "edit", method="compensate"),
        changed(changed(other, "collect", sites="cross_value"), "edit", method="nemo", nemo=TOLD_APART),
    ]


@pytest.fixture(scope="module")
def reads(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reads]:
    """What each stage read, over all variants."""
    found: dict[str, Reads] = defaultdict(Reads)
    folder = tmp_path_factory.mktemp("traced")
    for number, recipe in enumerate(variants(tiny_recipe, folder)):
        sets = prompt_sets(recipe)
        run = folder / str(number)
        run.mkdir()
        JobRecord().save(context_of(recipe, run).run)
        for name in NAMES if number < DRAWN else NAMES[: NAMES.index("edit") + 1]:
            context = context_of(recipe, run, sets)
            context.__dict__.update(base=Checkpoint.open(recipe.model.path))  # the job has opened it
            with traced(recipe, sets) as seen:
                importlib.import_module(f"excise.stages.{name}").run(context)
            found[name].keys |= seen.keys
            found[name].sets |= seen.sets
    return found


def declared(stage: Stage, recipe: Recipe) -> set[str]:
    """Leaves of the recipe that a stage's fingerprint depends on."""
    keys = {*stage.settings, *stage.files, *((*EDITS, *TRAINING.settings) if stage.edit else ())}
    keys |= {"attack"} if stage.attacks else set()  # of the sections, those of the attacks that are made
    return {leaf for leaf in leaves(recipe) for key in keys if leaf == key or leaf.startswith(f"{key}.")}


def test_stages_read_what_they_declare_and_nothing_else(reads: dict[str, Reads], tiny_recipe: Recipe) -> None:
    """All in one test: what was read takes a minute to find, in every worker that has one of these tests."""
    for stage in STAGES:
        opened = {"model.path"} if "model.path" in stage.files else set()  # by the job, for every stage
        spare = SPARE if stage.attacks else set()
        assert reads[stage.name].keys | opened | spare == declared(stage, tiny_recipe), stage.name
        trained = set(TRAINING.sets) if stage.edit else set()  # held out, judged and never seen: none of them
        assert reads[stage.name].sets - {"notes"} == set(stage.sets) | trained, stage.name


def test_every_key_is_read_or_known_not_to_be(reads: dict[str, Reads], tiny_recipe: Recipe) -> None:
    """A new key that no variant here makes a stage read would escape the test above."""
    read = {key for name in NAMES if name != "report" for key in reads[name].keys}
    unread = {key for key in leaves(tiny_recipe) if not key.startswith(("prompts.", "release."))} - read
    assert unread - {"locate.evidence"} == UNREAD - read


def replaced(section: Section, path: list[str], value: Any) -> Any:
    """The section with another value at a dotted key."""
    name = next(name for name, info in type(section).model_fields.items() if (info.alias or name) == path[0])
    inner = value if len(path) == 1 else replaced(getattr(section, name), path[1:], value)
    return section.model_copy(update={name: inner})


def another(key: str, value: Any, folder: Path, base: Path) -> Any:
    """A value that differs, and that can be hashed; not one that a job could run with."""
    if key in OTHER:
        return OTHER[key]
    if key in ("model.path", "model.twin"):
        shutil.copytree(base, folder / key)
        (folder / key / "LICENSE").write_text(key)
        return folder / key
    if isinstance(value, Path) or key in {"validate.judge", "validate.sscd", "model.configuration"}:
        file = folder / key
        file.write_text(key)
        return file
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return 1 if value is None else (*value, "more") if isinstance(value, tuple) else f"{value}-other"


def directly(recipe: Recipe, sets: PromptSets) -> dict[str, dict[str, str]]:
    outputs = {output: "same" for stage in STAGES for output in stage.outputs}
    fingerprints = Fingerprints(recipe, sets, demand_of(recipe))
    return {stage.name: fingerprints.of(stage, outputs) for stage in STAGES}


def test_every_key_changes_the_fingerprints_of_its_readers_and_of_no_other(
    reads: dict[str, Reads], tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """All outputs held equal: what follows from them is `test_runner`'s business."""
    recipe = changed(tiny_recipe, "attack", methods=("replay", *SEARCHES))
    sets = prompt_sets(recipe)
    before = directly(recipe, sets)
    for key, value in leaves(recipe).items():
        if key.startswith("prompts."):
            continue  # what they change is the sets
        after = directly(replaced(recipe, key.split("."), another(key, value, tmp_path, recipe.model.path)), sets)
        found = {name for name in NAMES if before[name] != after[name]}
        expected = {name for name in NAMES if key in reads[name].keys}
        expected |= {"collect"} if key in DEMAND else {"attack"} if key in SPARE else set()
        expected |= {stage.name for stage in STAGES if key in stage.files}
        trained = key.startswith(tuple(TRAINING.settings)) and key != "model.path"
        if trained or key.startswith(EDITS[2:]):
            expected -= {"edit"}  # the chosen method is zero
        assert found == expected, key


def neighbours_table(folder: Path) -> Path:
    """28 neighbours, four in a group."""
    rows = [{"prompt": f"a windmill by ada {i}", "group": f"mill{i // 4}"} for i in range(28)]
    return write_table(folder / "neighbours.csv", rows)


def differing(one: PromptSets, other: PromptSets) -> set[str]:
    """Fields that hold other prompts."""
    names = set(one.__dataclass_fields__) - {"notes"}
    return {name for name in names if getattr(one, name) != getattr(other, name)}


def test_a_concept_changes_who_reads_the_sets_and_who_measures_it(tiny_recipe: Recipe, tmp_path: Path) -> None:
    table = write_table(tmp_path / "rings.csv", [{"prompt": f"a ring, number {i}"} for i in range(12)])
    plain = changed(tiny_recipe, "prompts", memorized=table, near_duplicates=None)
    recipe = changed(plain, "prompts", concept="ring")
    made, sets = prompt_sets(recipe), prompt_sets(plain)
    changed_sets = differing(made, sets)
    assert {"located", "held_out"} <= changed_sets
    before, after = directly(plain, sets), directly(recipe, made)
    expected = {stage.name for stage in STAGES if changed_sets & set(stage.sets)} | {"validate", "report"}
    assert {name for name in NAMES if before[name] != after[name]} == expected
    own, other = directly(recipe, sets), directly(changed(plain, "prompts", concept="number"), sets)
    assert {name for name in NAMES if own[name] != other[name]} == {"validate", "report"}


def test_keys_of_the_prompts_change_who_reads_the_sets_that_they_make(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Each key in turn, the tables read again; the report lists the keys themselves."""
    fewer = {}
    for key in ("memorized", "ordinary", "judged", "never_seen"):
        table = getattr(tiny_recipe.prompts, key)
        lines = table.read_text().splitlines(keepends=True)
        fewer[key] = table.with_name(f"fewer-{key}.csv")
        fewer[key].write_text("".join(lines[:-1]))
    others: dict[str, Any] = {f"prompts.{key}": path for key, path in fewer.items()}
    others |= {"prompts.held_out": 0.3, "prompts.seed": 7, "prompts.column": "prompt", "prompts.near_duplicates": 0.9}
    others |= {"collect.groups": 2, "prompts.neighbours": neighbours_table(tmp_path)}
    assert {key for key in leaves(tiny_recipe) if key.startswith("prompts.")} <= {*others, "prompts.concept"}
    before, sets = directly(tiny_recipe, prompt_sets(tiny_recipe)), prompt_sets(tiny_recipe)
    for key, value in others.items():
        recipe = replaced(tiny_recipe, key.split("."), value)
        made = prompt_sets(recipe)
        changed_sets = differing(made, sets)
        assert changed_sets or key in ("prompts.column", "prompts.near_duplicates"), key
        after = directly(recipe, made)
        expected = {stage.name for stage in STAGES if changed_sets & set(stage.sets)} | {"report"}
        assert {name for name in NAMES if before[name] != after[name]} == expected, key


def test_changed_sets_change_who_reads_them(tiny_recipe: Recipe, tmp_path: Path) -> None:
    beside = replaced(tiny_recipe, ["prompts", "neighbours"], neighbours_table(tmp_path))
    sets = prompt_sets(beside)
    before = directly(tiny_recipe, sets)
    for name in (
        "located",
        "held_out",
        "contrast",
        "control",
        "judged",
        "never_seen",
        "neighbours",
        "neighbours_judged",
    ):
        values = {field: getattr(sets, field) for field in sets.__dataclass_fields__} | {name: ()}
        after = directly(tiny_recipe, PromptSets(**values))
        assert {stage for stage in NAMES if before[stage] != after[stage]} == {
            stage.name for stage in STAGES if name in stage.sets
        }, name


def test_look_up_finds_every_leaf(tiny_recipe: Recipe) -> None:
    found = leaves(tiny_recipe)
    assert {"validate.ssim", "name", "edit.random.draw"} <= set(found)
    assert {key: look_up(tiny_recipe, key) for key in found} == found
