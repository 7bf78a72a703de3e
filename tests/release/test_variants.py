"""A release of a base with two copies of its weights: both are edited, recorded and looked at."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from diffusers import UNet2DConditionModel

from excise.recipe import Recipe
from excise.release.provenance import read_record
from tests.release.finished import finished_run
from tests.release.forging import WEIGHTS, forge, found, sha256

HALF = "unet/diffusion_pytorch_model.fp16.safetensors"


@pytest.fixture(scope="module")
def both(tiny_recipe: Recipe, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``base`` and ``run/release``; not to be changed."""
    folder = tmp_path_factory.mktemp("both")
    checkpoint = shutil.copytree(tiny_checkpoint, folder / "checkpoint")
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet").half()
    unet.save_pretrained(checkpoint / "unet", variant="fp16")
    finished_run(folder, tiny_recipe, checkpoint)
    return folder


def test_every_copy_of_every_tensor_is_recorded(both: Path) -> None:
    release = both / "run" / "release"
    assert found(release, both / "base") == []
    record = read_record(release)
    assert sorted(record.edit.changed) == [HALF, WEIGHTS]
    assert {tuple(tensor.copies) for tensor in record.edit.tensors.values()} == {(HALF, WEIGHTS)}
    rows = [line for line in (release / "CHANGES.md").read_text().splitlines() if ".weight |" in line]
    assert len(rows) == 2 * len(record.edit.tensors) == 14
    for name, tensor in record.edit.tensors.items():
        assert tensor.copies[HALF].after != tensor.copies[WEIGHTS].after
        for file, copy in tensor.copies.items():
            assert f"| {name} | {file} | {copy.changed} | {tensor.entries:,} | {copy.after} |" in rows


def test_the_second_copy_is_looked_at_like_the_first(both: Path, tmp_path: Path) -> None:
    release = shutil.copytree(both / "run" / "release", tmp_path / "release")
    name = next(iter(read_record(release).edit.tensors))

    def other(record: dict[str, Any]) -> None:
        copies = record["edit"]["tensors"][name]["copies"]
        copies[HALF]["after"] = copies[WEIGHTS]["after"]

    forge(release, other)
    assert found(release) == [f"{HALF}: {name} does not have the sha256 that is recorded"]


def test_a_copy_that_was_not_edited_is_found(both: Path, tmp_path: Path) -> None:
    """By a forger who puts the base's copy back, and says that all is as it should be."""
    release, base = shutil.copytree(both / "run" / "release", tmp_path / "release"), both / "base"
    shutil.copyfile(base / HALF, release / HALF)
    record = read_record(release)

    def hide(content: dict[str, Any]) -> None:
        content["edit"]["files"][HALF] = sha256((base / HALF).read_bytes())
        content["edit"]["changed"].remove(HALF)
        for tensor in content["edit"]["tensors"].values():
            tensor["copies"][HALF]["after"] = tensor["copies"][HALF]["before"]

    forge(release, hide)
    assert len([fault for fault in found(release) if "said to be changed in" in fault]) == len(record.edit.tensors)
    assert len([fault for fault in found(release) if "entries are said to be zeroed" in fault]) > 0

    def unchanged(content: dict[str, Any]) -> None:
        for tensor in content["edit"]["tensors"].values():
            tensor["copies"][HALF]["changed"] = 0

    forge(release, unchanged)
    for name, tensor in record.edit.tensors.items():
        assert any(
            f"{HALF}: {name}: {tensor.zeroed} entries are said to be zeroed" in fault for fault in found(release)
        )
    forge(release, lambda content: [tensor["copies"].pop(HALF) for tensor in content["edit"]["tensors"].values()])
    left = [f"{HALF}: {name}: a copy that is not said to be changed" for name in sorted(record.edit.tensors)]
    assert found(release) == found(release, base) == left
