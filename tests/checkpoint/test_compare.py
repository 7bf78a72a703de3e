"""excise diff: every change is named, and only the planned ones pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from excise.checkpoint.compare import compare_folders
from excise.checkpoint.weights import copy_with_edits
from excise.cli import main
from excise.diffusion.sites import Site, sites_of
from excise.stages.edit import zeroing

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def site(tiny_checkpoint: Path) -> Site:
    return sites_of(tiny_checkpoint)[3]


@pytest.fixture
def edited(tiny_checkpoint: Path, site: Site, tmp_path: Path) -> Path:
    """A folder with 12 entries zeroed, and the record of it beside it."""
    mask = torch.zeros(site.outputs, site.neurons, dtype=torch.bool)
    mask[:3, :4] = True
    copy_with_edits(tiny_checkpoint, tmp_path / "edited", {site.tensor: zeroing(site, mask)})
    record = {"tensors": {site.tensor: {"zeroed": 12, "entries": mask.numel()}}}
    (tmp_path / "edit.json").write_text(json.dumps(record))
    return tmp_path / "edited"


def diff(base: Path, edited: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["diff", str(base), str(edited), *more], env={"COLUMNS": "400"})
    return result.exit_code, result.output


def test_the_planned_edit_passes(tiny_checkpoint: Path, edited: Path, site: Site) -> None:
    (found,) = compare_folders(tiny_checkpoint, edited)
    assert (found.file, found.tensor, found.changed) == (WEIGHTS, site.tensor, 12)
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
    weights = load_file(edited / WEIGHTS)
    weights[site.tensor][5, 5] += 1.0
    save_file(weights, edited / WEIGHTS, {"format": "pt"})
    code, output = diff(tiny_checkpoint, edited)
    assert code == 1 and "differs in 13 entries, and 12 are planned" in output


def test_every_other_change_is_named(tiny_checkpoint: Path, edited: Path, site: Site) -> None:
    weights = load_file(edited / WEIGHTS)
    other = next(name for name in sorted(weights) if name != site.tensor)
    weights[other] = weights[other] + 1.0
    save_file(weights, edited / WEIGHTS, {"format": "pt"})
    path = edited / "vae/diffusion_pytorch_model.safetensors"
    vae = load_file(path)
    path.unlink()  # it is a link to the base's
    gone = sorted(vae)[0]
    del vae[gone]
    save_file(vae, path, {"format": "pt"})
    (edited / "model_index.json").write_text("{}")
    (edited / "extra.txt").touch()
    (edited / "scheduler/scheduler_config.json").unlink()
    code, output = diff(tiny_checkpoint, edited)
    assert code == 1
    for fault in (
        f"{other} differs, and is not in the plan",
        f"vae/diffusion_pytorch_model.safetensors: {gone} is missing",
        "model_index.json has other bytes",
        "extra.txt is not in the base folder",
        "scheduler/scheduler_config.json is not in the edited folder",
    ):
        assert fault in output


def test_a_plan_that_was_not_carried_out_fails(tiny_checkpoint: Path, edited: Path, site: Site) -> None:
    code, output = diff(tiny_checkpoint, tiny_checkpoint, "--plan", str(edited.parent / "edit.json"))
    assert code == 1 and f"{site.tensor} is planned and does not differ" in output


def test_what_is_no_record_is_refused(tiny_checkpoint: Path, edited: Path) -> None:
    code, output = diff(tiny_checkpoint, edited, "--plan", str(edited / "model_index.json"))
    assert code == 1 and "not the record of an edit" in output
    code, output = diff(tiny_checkpoint / "nowhere", edited)
    assert code == 1 and "no such folder" in output
