"""Attacks on a checkpoint that was edited elsewhere: the whole suite, with and without other models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import excise
from excise.errors import ExciseError
from excise.prompts.questions import Kind, Place, Question
from excise.run.images import read_images, stored
from excise.run.layout import Run
from excise.run.results import read_row
from excise.trial.measure import Trial
from excise.verdict.compare import certify, compare
from excise.verdict.row import Row
from tests.conftest import write_table
from tests.jobs import excise as command
from tests.jobs import refused

pytestmark = pytest.mark.e2e
RECIPE = """
[sampling]
steps = 2
batch = 8

[attack]
methods = ["replay", "embedding", "relearn"]

[attack.embedding]
starts = ["empty"]
steps = 2
curve = [1]
samples = 2
images = 2

[attack.relearn]
on = ["itself"]
steps = 1
curve = [1]
samples = 1
images = 1

[validate]
seeds = 2
threshold = 0.386
"""


@pytest.fixture(scope="module")
def given(tiny_checkpoint: Path, tiny_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint edited by another tool, its base, tables and a recipe's sections."""
    folder = tmp_path_factory.mktemp("suite")
    edited = shutil.copytree(tiny_checkpoint, folder / "their-edit")
    weights = edited / "unet" / "diffusion_pytorch_model.safetensors"
    changed = load_file(weights)
    changed["conv_out.weight"] = changed["conv_out.weight"] * 0.5
    save_file(changed, weights, {"format": "pt"})
    (folder / "recipe.toml").write_text(RECIPE)
    return {
        "checkpoint": edited,
        "base": tiny_checkpoint,
        "prompts": tiny_tables / "memorized.csv",
        "never_seen": tiny_tables / "never_seen.csv",
        "recipe": folder / "recipe.toml",
    }


@pytest.fixture(scope="module")
def whole(given: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, Run]:
    """With base, twin and never-seen images; the base stands for its own twin."""
    run = Run(tmp_path_factory.mktemp("runs") / "whole")
    row = excise.attack_checkpoint(**given, twin=given["base"], out=run.folder, progress=lambda _: None)
    return row, run


def test_every_model_is_asked_and_compared_as_in_a_job(whole: tuple[Row, Run], given: dict[str, Path]) -> None:
    row, run = whole
    assert read_row(run) == row and list(row.models) == ["base", "edited", "twin"]
    assert row.checkpoint.name == "their-edit" and row.checkpoint.sha256 != row.others["base"].sha256
    assert row.others["base"].sha256 == row.others["twin"].sha256
    keys = ["replay", "embedding/empty/1", "embedding/empty/2", "relearn/itself/1"]
    assert list(row.attacks) == keys and list(dict.fromkeys(one.attack for one in row.brought_back)) == keys
    assert {one.set for one in row.brought_back} == {"attacked_verbatim", "attacked_template"}
    beside = {(one.attack.partition("/")[0], one.against) for one in row.comparisons}
    assert beside == {("embedding", "twin"), ("relearn", "never_seen")}
    assert row.comparisons == compare(row.attacks, row.attacked)
    assert row.certificates == certify(row.attacks, row.attacked, 0.05)
    for one in row.comparisons:
        assert one.base == one.control or one.against == "never_seen"  # the same model, searched with the same noise
    for model in ("base", "edited"):
        drawn = list(read_images(stored(run.images, "replay", model, Question(Place.ATTACKED, Kind.VERBATIM))))
        assert len(drawn) == 8 and drawn[0].shape == (2, 3, 64, 64)
    names = {check.name for check in row.checks}
    assert names == {"held_out_replication", "template_replication", "embedding_replication", "relearning"}
    assert row.images == 2 + 2 and 0 <= row.come_back <= row.images  # two of each set; never-seen ones beside
    assert len(row.cannot_say) == 1 and "draws what it is asked for was not measured" in row.cannot_say[0]


def test_a_row_is_written_for_programs_for_tables_and_for_people(whole: tuple[Row, Run]) -> None:
    row, run = whole
    assert json.loads(run.row.read_text())["checkpoint"]["name"] == "their-edit"
    text, page = run.row_summary.read_text(), run.row_page.read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| their-edit |"))
    assert line.endswith(f"| {row.come_back} of {row.images} | {row.fate} |") and "embedding/empty/2" in text
    for said in (text, page):
        assert "this image comes back by" in said.lower() and row.attacked[0].sha256[:16] in said
        assert row.cannot_say[0] in said
    assert str(run.folder) not in text + page + run.row.read_text()
    assert json.loads(run.certificate.read_text())["passed"] == row.passed


def test_alone_it_says_what_it_cannot(given: dict[str, Path], whole: tuple[Row, Run], tmp_path: Path) -> None:
    result = command("attack", given["checkpoint"], "--prompts", given["prompts"], "--recipe", given["recipe"],
                     "--attack", "embedding", "--images", 1, "--out", tmp_path / "alone")  # fmt: skip
    assert result.exit_code == 0, result.output
    row = read_row(Run(tmp_path / "alone"))
    assert list(row.models) == ["edited"] and row.comparisons == () == row.certificates
    assert set(row.attacks) == {"replay", "embedding/empty/1", "embedding/empty/2"} and row.images == 2
    assert row.fate in ("not searched", "still there") and len(row.cannot_say) == 4
    for said in ("neither a twin (--twin) nor never-seen", "the base was not attacked", "the rule of replication errs"):
        assert any(said in one for one in row.cannot_say) and said in result.output
    before = {one.sha256: one.hits["embedding/empty/2"]["edited"] for one in whole[0].attacked}
    for one in row.attacked:  # what is found for an image does not depend on what else is asked
        assert one.hits["embedding/empty/2"]["edited"] == before[one.sha256]
    assert "nothing tried" in Run(tmp_path / "alone").row_page.read_text() or row.come_back


def test_with_never_seen_images_alone_these_are_the_yardstick(given: dict[str, Path], tmp_path: Path) -> None:
    paths = {key: path for key, path in given.items() if key != "base"}
    row = excise.attack_checkpoint(**paths, attacks=("embedding",), out=tmp_path, progress=lambda _: None)
    assert {one.against for one in row.comparisons} == {"never_seen"}
    assert all(one.base is None for one in row.comparisons) and all(one.base is None for one in row.certificates)
    assert row.fate in ("unclear", "hidden", "still there") and row.threshold.never_seen is not None
    assert any("a fair yardstick only if" in one for one in row.cannot_say)


def test_an_audit_is_made_of_base_and_edited_model(given: dict[str, Path], tmp_path: Path) -> None:
    recipe = tmp_path / "audit.toml"
    recipe.write_text(
        '[sampling]\nsteps = 1\nbatch = 16\n[attack]\nmethods = ["replay", "embedding"]\n'
        '[attack.embedding]\nstarts = ["empty"]\nsteps = 1\nsamples = 1\nseeds = 1\nimages = 1\n'
        "[attack.audit]\nsteps = 1\nsamples = 2\nimages = 2\n[validate]\nseeds = 1\n[verdict]\nfalse_discovery = 0.9\n"
    )
    told = given | {"recipe": recipe}
    row = excise.attack_checkpoint(**told, out=tmp_path / "run", progress=lambda _: None)
    (check,) = (check for check in row.checks if check.name == "membership")
    assert check.set == "attacked_verbatim" and check.cases == 2 and set(check.controls) == {"base"}
    scores = {name: model.membership["attacked_verbatim"].scores for name, model in row.models.items()}
    assert set(scores) == {"base", "edited"} and scores["base"] != scores["edited"]
    alone = told | {"never_seen": None}
    with pytest.raises(ExciseError, match=r"attack\.audit: there are 0 never-seen images"):
        excise.attack_checkpoint(**alone, out=tmp_path / "alone", progress=lambda _: None)


def test_what_was_stopped_goes_on_and_what_is_done_is_kept(
    given: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excise.attacks import embedding

    paths = {key: given[key] for key in ("checkpoint", "prompts", "recipe")}
    find, calls = embedding.find, []

    def stopped(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return find(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(embedding, "find", stopped)
    with pytest.raises(KeyboardInterrupt):
        excise.attack_checkpoint(**paths, attacks=("embedding",), images=1, out=tmp_path, progress=lambda _: None)
    kept = {file: file.stat().st_mtime_ns for file in Run(tmp_path).partial("attack").glob("*.safetensors")}
    assert any(file.name.startswith("embedding") for file in kept) and not Run(tmp_path).row.exists()
    excise.attack_checkpoint(**paths, attacks=("embedding",), images=1, out=tmp_path, progress=lambda _: None)
    assert len(calls) == 3  # the first search was not made again
    lines: list[str] = []
    excise.attack_checkpoint(**paths, attacks=("embedding",), images=1, out=tmp_path, progress=lines.append)
    assert len(calls) == 3 and any("done before" in line for line in lines)
    changed = tmp_path / "other.toml"
    changed.write_text(RECIPE.replace("samples = 2", "samples = 3"))
    excise.attack_checkpoint(**(paths | {"recipe": changed}), attacks=("embedding",), images=1, out=tmp_path,
                             progress=lambda _: None)  # fmt: skip
    assert len(calls) == 5


def test_what_cannot_work_is_refused_before_anything_is_drawn(
    given: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trial, "of", None)
    basic = ("attack", given["checkpoint"], "--prompts", given["prompts"], "--out", tmp_path / "out")
    assert refused(command("attack", tmp_path / "none", *basic[2:]), "none")
    assert refused(command(*basic, "--twin", "hf://org/name"), "--twin", "hf download org/name")
    bare = write_table(tmp_path / "bare.csv", [{"prompt": "a cat"}])
    assert refused(command(*basic[:3], bare, *basic[4:]), "bare.csv", "no prompt names an image")
    assert refused(command(*basic, "--never-seen", given["prompts"]), "is also in")
    (tmp_path / "odd.toml").write_text("[sample]\nsteps = 2\n")
    assert refused(command(*basic, "--recipe", tmp_path / "odd.toml"), "odd.toml: sample: no section of a recipe")
    (tmp_path / "alone.toml").write_text('[attack]\nmethods = ["replay"]\n')
    assert refused(command(*basic, "--recipe", tmp_path / "alone.toml"), "replay alone searches for nothing")
    (tmp_path / "size.toml").write_text("[sampling]\nsize = 63\n")
    assert refused(command(*basic, "--recipe", tmp_path / "size.toml"), "sampling.size: 63 pixels")
    broken = shutil.copytree(given["checkpoint"], tmp_path / "broken")
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    found = load_file(weights)
    found["conv_out.weight"] = torch.full_like(found["conv_out.weight"], torch.nan)
    save_file(found, weights, {"format": "pt"})
    assert refused(command("attack", broken, *basic[2:]), "broken")
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    one = write_table(tmp_path / "one.csv", [{"prompt": "a cat", "image": "one.png"}])
    assert refused(command(*basic[:3], one, *basic[4:], "--attack", "relearn"), "attack.relearn.on")
    run = tmp_path / "run"
    run.mkdir()
    (run / "job.json").write_text(json.dumps({"recipe": "my.toml"}))
    with pytest.raises(ExciseError, match=r"is the folder of a run of my\.toml"):
        excise.attack_checkpoint(given["checkpoint"], given["prompts"], out=run, progress=lambda _: None)
    assert not (tmp_path / "out").exists()
