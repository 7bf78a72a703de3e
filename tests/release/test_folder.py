"""From an accepted run to a release folder."""

from __future__ import annotations

import csv
import shutil
import tomllib
from pathlib import Path

import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.checkpoint.folder import checkpoint_files
from excise.diffusion.denoise import generate
from excise.errors import ExciseError
from excise.recipe import Recipe, Sampling
from excise.release.folder import build_release, published_paths
from excise.release.provenance import read_record
from excise.release.verify import verify
from excise.run.layout import Run
from excise.run.results import read_edit_record
from tests.jobs import excise, refused, write_recipe
from tests.release.finished import CARD, TERMS, WAIVED
from tests.release.forging import WEIGHTS


def test_a_release_is_right_and_says_where_it_comes_from(released: Path, release: Path) -> None:
    findings = verify(release, released / "key.pub", released / "base")
    assert not any(finding.faults or finding.skipped for finding in findings)
    record = read_record(release)
    assert record.format == 2 and record.edit.method == "zero" and record.edit.sites == "ffn"
    assert record.base.repo == "acme/tiny" and len(record.base.files) >= 9
    assert record.recipe == (released / "recipe.toml").read_text()
    assert record.prompts.texts is None and len(record.prompts.tables) == 4
    assert record.libraries.keys() >= {"torch", "diffusers", "python"}
    assert record.edit.tensors == read_edit_record(Run(released / "run")).tensors
    assert record.verdict.models.keys() == {"base", "edited"} and record.verdict.accepted
    assert (release / "LICENSE.md").read_bytes() == TERMS
    assert (release / "excise" / "base-model-card.md").read_bytes() == CARD
    assert not (release / "excise" / "report.html").exists()  # it shows prompts and memorized images
    edited, again = (
        generate(
            Checkpoint.open(folder).load(torch.float32, torch.device("cpu")), ["a red circle"], [0], Sampling(steps=2)
        )
        for folder in (released / "run" / "edited", release)
    )
    assert torch.equal(edited, again)


def test_no_memorized_prompt_stands_in_what_people_read(released: Path, release: Path) -> None:
    recipe = tomllib.loads((released / "recipe.toml").read_text())
    with Path(recipe["prompts"]["memorized"]).open(encoding="utf-8", newline="") as file:
        memorized = [row["prompt"] for row in csv.DictReader(file)]
    texts = [path for path in release.rglob("*") if path.suffix in (".md", ".json", ".toml", ".sig")]
    own = [path for path in texts if path.parent.name != "tokenizer"]  # the tokenizer is the base's
    said = "".join(path.read_text() for path in own)
    assert len(memorized) == 14 and len(own) >= 10
    assert not [prompt for prompt in memorized if prompt in said]


def test_the_notice_of_changes_names_every_changed_tensor(release: Path) -> None:
    record, lines = read_record(release), (release / "CHANGES.md").read_text().splitlines()
    assert len(record.edit.tensors) == 7
    rows = [line for line in lines if line.startswith("| ") and ".weight |" in line]
    assert rows == [
        f"| {name} | {WEIGHTS} | {tensor.copies[WEIGHTS].changed} | {tensor.entries:,} | "
        f"{tensor.copies[WEIGHTS].after} |"
        for name, tensor in record.edit.tensors.items()
    ]
    assert f"| {WEIGHTS} | {record.base.files[WEIGHTS]} | {record.edit.files[WEIGHTS]} |" in lines
    zeroed = sum(tensor.zeroed or 0 for tensor in record.edit.tensors.values())
    assert zeroed > 500 and f"{zeroed:,} of its weights set to zero" in " ".join(lines)
    added = [
        line for line in lines if line.startswith(("| EXCISE", "| README", "| CHANGES", "| model.sig", "| excise/"))
    ]
    assert [line.split(" | ")[0][2:] for line in added] == record.added
    assert set(record.added) == {
        path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()
    } - (record.base.files.keys())
    assert lines[2] == f"This model is a modified copy of acme/tiny, commit {'0' * 40}."


def test_only_the_checkpoint_is_released(released: Path, tmp_path: Path) -> None:
    """Not what else lies in the base's folder: a clone's configuration, secrets, samples."""
    base = shutil.copytree(released / "base", tmp_path / "base")
    whole = checkpoint_files(base)
    assert WEIGHTS in whole and "LICENSE.md" in whole and "README.md" not in whole
    for name in (".git/config", ".env", "samples/step1.png", "unet/.cache.json", ".cache/huggingface/x.json", "x.json"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("{}")
    assert checkpoint_files(base) == whole


def test_what_is_refused_is_not_released(released: Path, tmp_path: Path) -> None:
    run = shutil.copytree(released / "run", tmp_path / "run")
    strict = (released / "recipe.toml").read_text().replace('drift = "unchecked"', "drift = 0.000001")
    (tmp_path / "recipe.toml").write_text(strict)
    assert excise("run", tmp_path / "recipe.toml", "--out", run).exit_code == 3
    assert not (run / "release").exists()
    assert refused(excise("release", run), "refuses this edit", "drift")


def test_the_same_run_makes_the_same_release_and_an_altered_one_none(released: Path, tmp_path: Path) -> None:
    run = Run(shutil.copytree(released / "run", tmp_path / "run"))
    first = (run.release / "EXCISE.json").read_bytes()
    assert excise("release", run.folder).exit_code == 0
    assert (run.release / "EXCISE.json").read_bytes() == first
    verdict = run.verdict.read_text()
    run.verdict.write_text(verdict.replace('"accepted": true', '"accepted":  true'))
    with pytest.raises(ExciseError, match="altered since the run"):
        build_release(run)


@pytest.mark.parametrize("name", ["edited/unet/config.json", "edit.json", "measures.json", "report.md"])
def test_whatever_the_release_is_made_of_must_be_the_runs(released: Path, tmp_path: Path, name: str) -> None:
    run = Run(shutil.copytree(released / "run", tmp_path / "run"))
    with (run.folder / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(ExciseError, match="altered since the run"):
        build_release(run)


def test_an_unfinished_run_is_not_released(tiny_recipe: Recipe, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"collect.calls": 2})
    assert excise("run", path, "--until", "collect", "--out", tmp_path / "run").exit_code == 0
    assert refused(excise("release", tmp_path / "run"), "holds no finished run (collect is done)")
    assert not (tmp_path / "run" / "release").exists()


def test_a_missing_key_is_said_before_the_job(tiny_recipe: Recipe, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"release.key": str(tmp_path / "key.pem"), **WAIVED})
    assert refused(excise("run", path, "--out", tmp_path / "run"), "key.pem is not there")
    assert not (tmp_path / "run").exists()


def test_paths_of_this_machine_are_named_before_they_go_out(released: Path, tmp_path: Path) -> None:
    run = Run(shutil.copytree(released / "run", tmp_path / "run"))
    tables = [f"prompts.{key}" for key in ("memorized", "ordinary", "judged", "never_seen")]
    absolute = ["model.path", *tables, "release.key"]
    assert published_paths(run) == absolute
    done = excise("release", run.folder)
    assert done.exit_code == 0 and f"absolute paths included: {', '.join(absolute)}" in done.output


def test_relative_paths_and_addresses_tell_nothing_of_this_machine(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(tmp_path)
    changes = {"model.path": "hf://acme/tiny@main", "release.license_files": ["LICENSE.md"]}
    changes |= {f"prompts.{key}": f"tables/{key}.csv" for key in ("memorized", "ordinary", "judged", "never_seen")}
    write_recipe(run.recipe, tiny_recipe, changes)
    assert published_paths(run) == []
    write_recipe(run.recipe, tiny_recipe, changes | {"release.license_files": ["LICENSE.md", "/home/me/TERMS.txt"]})
    assert published_paths(run) == ["release.license_files"]
