"""excise diff: every change is named, and only the planned ones pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from excise.checkpoint import Checkpoint
from excise.checkpoint.compare import compare_folders
from excise.checkpoint.copying import copy_with_changes
from excise.cli import main
from excise.diffusion.sites import Site
from excise.edits import Masks, changes_of, method
from excise.edits.recorder import Recorder
from excise.errors import ExciseError
from tests.checkpoint.layouts import alter

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def site(tiny_checkpoint: Path) -> Site:
    return Checkpoint.open(tiny_checkpoint).sites()[3]


@pytest.fixture
def edited(tiny_checkpoint: Path, site: Site, tmp_path: Path) -> Path:
    """A folder with 12 entries zeroed, and the record of it beside it."""
    mask = torch.zeros(site.outputs, site.neurons, dtype=torch.bool)
    mask[:3, :4] = True
    base, edit, recorder = Checkpoint.open(tiny_checkpoint), method("zero"), Recorder()
    fitted = edit.fit(Masks(None, (site,), {site.name: mask}))
    copy_with_changes(base, tmp_path / "edited", changes_of(fitted), recorder.observe)
    record = recorder.record(base, Checkpoint.open(tmp_path / "edited"), fitted, "zero", "ffn", "tiny")
    (tmp_path / "edit.json").write_text(record.model_dump_json())
    return tmp_path / "edited"


def diff(base: Path, edited: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["diff", str(base), str(edited), *more], env={"COLUMNS": "400"})
    return result.exit_code, result.output


def test_the_planned_edit_passes(tiny_checkpoint: Path, edited: Path, site: Site) -> None:
    (found,) = compare_folders(tiny_checkpoint, edited)
    assert (found.file, found.tensor, found.changed, found.not_zero) == (WEIGHTS, site.tensor, 12, 0)
    assert found.entries == site.outputs * site.neurons
    code, output = diff(tiny_checkpoint, edited)
    assert code == 0 and "exactly what" in output and site.tensor in output


def test_a_folder_and_itself_do_not_differ(tiny_checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    assert compare_folders(tiny_checkpoint, copy) == ()
    assert diff(tiny_checkpoint, copy)[0] == 0


def test_without_a_record_any_difference_fails(tiny_checkpoint: Path, edited: Path) -> None:
    record = edited.parent / "edit.json"
    record = record.rename(edited.parent / "moved.json")
    code, output = diff(tiny_checkpoint, edited)
    assert code == 1 and "name it with --plan" in output
    assert diff(tiny_checkpoint, edited, "--plan", str(record))[0] == 0


def test_one_entry_more_than_planned_fails(tiny_checkpoint: Path, edited: Path, site: Site) -> None:
    weight = load_file(edited / WEIGHTS)[site.tensor]
    weight[5, 5] += 1.0
    alter(edited / WEIGHTS, **{site.tensor: weight})
    (found,) = compare_folders(tiny_checkpoint, edited)
    assert (found.changed, found.not_zero) == (13, 1)
    code, output = diff(tiny_checkpoint, edited)
    assert code == 1 and "differs in 13 entries, and 12 are planned" in output


def test_every_other_change_is_named(tiny_checkpoint: Path, edited: Path, site: Site) -> None:
    weights = load_file(edited / WEIGHTS)
    other = next(name for name in sorted(weights) if name != site.tensor)
    alter(edited / WEIGHTS, **{other: weights[other] + 1.0})
    vae = edited / "vae/diffusion_pytorch_model.safetensors"
    gone, wider, narrower = sorted(load_file(vae))[:3]
    alter(vae, **{gone: None, "added": torch.ones(2), wider: torch.ones(3, 5), narrower: torch.ones(2).half()})
    (edited / "model_index.json").write_text("{}")
    (edited / "extra.txt").touch()
    (edited / "scheduler/scheduler_config.json").unlink()
    code, output = diff(tiny_checkpoint, edited)
    assert code == 1
    for fault in (
        f"{other} differs, and is not in the plan",
        f"vae/diffusion_pytorch_model.safetensors: {gone} is missing",
        "vae/diffusion_pytorch_model.safetensors: added was added",
        f"vae/diffusion_pytorch_model.safetensors: {wider} is F32 (3, 5), was F32",
        f"vae/diffusion_pytorch_model.safetensors: {narrower} is F16 (2,), was F32",
        "vae/diffusion_pytorch_model.safetensors has another header",
        "model_index.json has other bytes",
        "extra.txt is not in the base folder",
        "scheduler/scheduler_config.json is not in the edited folder",
    ):
        assert fault in output


def test_only_the_files_that_are_named_are_compared(tiny_checkpoint: Path, edited: Path) -> None:
    (edited / "extra.txt").touch()
    (edited / "model_index.json").write_text("{}")
    assert [found.file for found in compare_folders(tiny_checkpoint, edited, [WEIGHTS, "gone"])] == [WEIGHTS]


def test_a_plan_that_was_not_carried_out_fails(tiny_checkpoint: Path, edited: Path, site: Site) -> None:
    code, output = diff(tiny_checkpoint, tiny_checkpoint, "--plan", str(edited.parent / "edit.json"))
    assert code == 1 and f"{site.tensor} is planned and does not differ" in output


def test_what_is_no_record_is_refused(tiny_checkpoint: Path, edited: Path) -> None:
    code, output = diff(tiny_checkpoint, edited, "--plan", str(edited / "model_index.json"))
    assert code == 1 and "not the record of an edit" in output
    old = edited.parent / "old.json"  # as runs of earlier versions have it
    old.write_text(json.dumps({"tensors": {"a": {"zeroed": 12, "entries": 20}}}))
    code, output = diff(tiny_checkpoint, edited, "--plan", str(old))
    assert code == 1 and "not the record of an edit" in output


def test_what_is_no_folder_is_refused(tiny_checkpoint: Path, edited: Path) -> None:
    code, output = diff(tiny_checkpoint / "nowhere", edited)
    assert code == 1 and "no such folder" in output
    with pytest.raises(ExciseError, match="nowhere: no such folder; give two checkpoint folders"):
        compare_folders(tiny_checkpoint, edited / "nowhere")
