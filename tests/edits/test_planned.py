"""What an edited folder is held against: its record, tensor by tensor."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from excise.checkpoint import Checkpoint
from excise.checkpoint.compare import compare_folders
from excise.checkpoint.copying import copy_with_changes
from excise.edits import Masks, changes_of, method
from excise.edits.edit_record import ChangedTensor, EditRecord, said
from excise.edits.planned import altered, unplanned
from excise.edits.recorder import Recorder

FILE = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def edited(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EditRecord]:
    """An edited copy with a half-precision variant, and its record."""
    folder = tmp_path_factory.mktemp("planned")
    base = Path(shutil.copytree(tiny_checkpoint, folder / "base"))
    weights = load_file(base / FILE)
    name = "mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight"
    weights[name][0, :3] = 0.0  # zeros that are there already, and that the mask takes too
    save_file(weights, base / FILE, {"format": "pt"})
    halves = {name: value.half() for name, value in weights.items()}
    save_file(halves, base / FILE.replace("model.", "model.fp16."), {"format": "pt"})
    checkpoint = Checkpoint.open(base)
    sites = checkpoint.sites()
    masks = {site.name: torch.zeros(site.outputs, site.neurons, dtype=torch.bool) for site in sites}
    for mask in masks.values():
        mask[0, :5] = True
    edit, recorder = method("zero").fit(Masks(None, sites, masks)), Recorder()
    copy_with_changes(checkpoint, folder / "edited", changes_of(edit), recorder.observe)
    record = recorder.record(checkpoint, Checkpoint.open(folder / "edited"), edit, "zero", "ffn", "base")
    return folder / "edited", record


def faults(folder: Path, tensors: dict[str, ChangedTensor]) -> list[str]:
    differences = compare_folders(folder.parent / "base", folder)
    return [*unplanned(differences, tensors), *altered(folder, tensors)]


def test_the_record_counts_bits_that_changed_and_entries_that_were_zeroed(edited: tuple[Path, EditRecord]) -> None:
    folder, record = edited
    assert faults(folder, record.tensors) == []
    assert record.zeroed == 5 * len(record.tensors) and record.weights_changed == record.zeroed
    middle = record.tensors["mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight"]
    assert {file: copy.changed for file, copy in middle.copies.items()} == {
        FILE: 2, FILE.replace("model.", "model.fp16."): 2
    }  # fmt: skip
    assert record.changed == sorted([FILE, FILE.replace("model.", "model.fp16.")])
    assert said(record.tensors) == "35 of its weights set to zero"
    assert EditRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("after", "0" * 64, "does not have the sha256"),
        ("changed", 3, "differs in 5 entries, and 3 are planned"),
    ],
)
def test_a_copy_that_is_not_as_recorded(edited: tuple[Path, EditRecord], field: str, value: object, words: str) -> None:
    folder, record = edited
    name = next(iter(record.tensors))
    tensor = record.tensors[name]
    copies = tensor.copies | {FILE: tensor.copies[FILE].model_copy(update={field: value})}
    found = faults(folder, record.tensors | {name: tensor.model_copy(update={"copies": copies})})
    assert len(found) == 1 and words in found[0] and FILE in found[0] and name in found[0]


def test_more_zeros_claimed_than_there_are(edited: tuple[Path, EditRecord]) -> None:
    folder, record = edited
    name = next(iter(record.tensors))
    claimed = record.tensors[name].model_copy(update={"zeroed": 9})
    found = faults(folder, record.tensors | {name: claimed})
    assert found and all("9 entries are said to be zeroed, and 5 are zero" in fault for fault in found)


def test_what_is_not_in_the_record_and_what_is_there_but_did_not_happen(edited: tuple[Path, EditRecord]) -> None:
    folder, record = edited
    name, *rest = record.tensors
    found = faults(folder, {other: record.tensors[other] for other in rest})
    assert len(found) == 2 and all("is not in the plan" in fault and name in fault for fault in found)
    more = record.tensors | {"conv_in.weight": record.tensors[name]}
    assert any("conv_in.weight is planned and does not differ" in fault for fault in faults(folder, more))


def test_an_entry_that_was_changed_but_not_to_zero(edited: tuple[Path, EditRecord], tmp_path: Path) -> None:
    folder, record = edited
    other = Path(shutil.copytree(folder.parent, tmp_path / "copy")) / "edited"
    weights = load_file(other / FILE)
    name = next(iter(record.tensors))
    weights[name][1, 1] += 1.0
    save_file(weights, other / FILE, {"format": "pt"})
    words = " ".join(faults(other, record.tensors))
    assert "1 of the entries that differ are not zero, as planned" in words and "sha256" in words
