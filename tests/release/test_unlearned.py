"""A model that was trained, every tensor of it, goes through record, diff, card and verify as one with zeros does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from excise.checkpoint import Checkpoint
from excise.recipe import Recipe
from excise.report.differences import find_differences
from excise.run.layout import Run
from excise.run.results import read_edit_record
from tests.jobs import excise
from tests.release.finished import finished_run
from tests.release.forging import WEIGHTS, forge, found, recounted

pytestmark = pytest.mark.e2e
SETTINGS = {
    "edit.method": "unlearn",
    "edit.unlearn.steps": 2,
    "edit.unlearn.kept_rows": 2,
    "edit.unlearn.memorized_rows": 2,
    "edit.unlearn.pictures": 2,
    "locate.evidence": False,
    "validate.seeds": 1,
}


@pytest.fixture(scope="module")
def run(tiny_recipe: Recipe, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(finished_run(tmp_path_factory.mktemp("unlearned"), tiny_recipe, tiny_checkpoint, SETTINGS))


def test_only_what_the_record_names_differs_and_pages_say_so(run: Run) -> None:
    base, record = Checkpoint.open(run.folder.parent / "base"), read_edit_record(run)
    assert (record.method, record.sites, record.changed) == ("unlearn", "all", [WEIGHTS])
    assert record.tensors.keys() == base.editable("all").keys() == set(base.tensors())
    assert {name: tensor.entries for name, tensor in record.tensors.items()} == base.editable("all")
    assert record.zeroed is None and 0 < record.weights_changed <= sum(base.editable("all").values())
    assert find_differences(base.folder, run.edited, None).as_planned
    card, changes = (run.release / name for name in ("README.md", "CHANGES.md"))
    assert "of its layers changed" in card.read_text() and "set to zero" not in card.read_text()
    assert "| conv_in.bias | unet/" in changes.read_text()
    assert not run.partial("edit").exists()


def test_verify_holds_every_tensor_to_its_hash_and_to_the_scope(run: Run, tmp_path: Path) -> None:
    base = run.folder.parent / "base"
    done = excise("verify", run.release, "--base", base)
    assert done.exit_code == 0, done.output
    copy = Path(shutil.copytree(run.release, tmp_path / "scope"))
    forge(copy, recounted(lambda record: record["edit"].update(sites="blocks")))
    faults = " ".join(found(copy, base))
    assert "edit.sites is 'blocks', but the recipe's 'all'" in faults
    assert "conv_in.weight: 576 entries of 'blocks', and it is none of them" in faults
    copy = Path(shutil.copytree(run.release, tmp_path / "left out"))
    forge(copy, recounted(lambda record: record["edit"]["tensors"].pop("conv_in.weight")))
    assert any("conv_in.weight differs, and is not in the plan" in fault for fault in found(copy, base))
    copy = Path(shutil.copytree(run.release, tmp_path / "hash"))
    forge(copy, lambda record: record["edit"]["tensors"]["conv_in.bias"]["copies"][WEIGHTS].update(after="0" * 64))
    assert any("conv_in.bias does not have the sha256 that is recorded" in fault for fault in found(copy))
    assert json.loads((run.release / "EXCISE.json").read_text())["edit"]["sites"] == "all"
