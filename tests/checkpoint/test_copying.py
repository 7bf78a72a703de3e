"""Patching bytes: on real folders, in every layout that weights come in."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from excise.checkpoint.weights import (
    check_against_config,
    check_finite,
    copies_of,
    copy_with_edits,
    read_tensor,
    tensor_names,
    tensor_places,
)
from excise.errors import ExciseError

NAME = "mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight"
OTHER = "up_blocks.0.attentions.1.transformer_blocks.0.ff.net.2.weight"
PLAIN = "diffusion_pytorch_model.safetensors"


def first_half_zero(weight: Tensor) -> Tensor:
    edited = weight.clone()
    edited[: len(weight) // 2] = 0
    return edited


@pytest.fixture
def base(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_checkpoint, tmp_path / "base")


def add_half_precision(base: Path) -> None:
    weights = load_file(base / "unet" / PLAIN)
    half = {name: tensor.half() for name, tensor in weights.items()}
    save_file(half, base / "unet" / "diffusion_pytorch_model.fp16.safetensors", {"format": "pt"})


def shard(base: Path) -> None:
    (base / "unet" / PLAIN).unlink()
    model = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(base / "unet"))
    model.save_pretrained(base / "unet", max_shard_size="300KB")
    assert len(list((base / "unet").glob("*.safetensors"))) > 2


def changed_files(base: Path, edited: Path) -> list[str]:
    """Names of the files that differ; both folders must have the same files."""
    files = [
        {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (base, edited)
    ]
    assert files[0].keys() == files[1].keys()
    return sorted(name for name in files[0] if files[0][name] != files[1][name])


def test_exactly_the_planned_bytes_differ(base: Path, tmp_path: Path) -> None:
    copy_with_edits(base, tmp_path / "edited", {NAME: first_half_zero, OTHER: torch.zeros_like})
    changed = f"unet/{PLAIN}"
    assert changed_files(base, tmp_path / "edited") == [changed]
    before, after = (base / changed).read_bytes(), (tmp_path / "edited" / changed).read_bytes()
    (_, first), (_, second) = (tensor_places(base, [name])[name][0] for name in (NAME, OTHER))
    allowed = set(range(first.start, first.stop)) | set(range(second.start, second.stop))
    assert {i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b} <= allowed
    old, new = load_file(base / changed), load_file(tmp_path / "edited" / changed)
    assert {name for name in old if not torch.equal(old[name], new[name])} == {NAME, OTHER}
    assert torch.equal(new[NAME], first_half_zero(old[NAME]))
    assert not new[OTHER].any()


def test_every_precision_is_edited(base: Path, tmp_path: Path) -> None:
    add_half_precision(base)
    assert next(iter(copies_of(base / "unet"))) == PLAIN
    assert read_tensor(base, NAME).dtype == torch.float32
    copy_with_edits(base, tmp_path / "edited", {NAME: first_half_zero})
    for name, dtype in ((PLAIN, torch.float32), ("diffusion_pytorch_model.fp16.safetensors", torch.float16)):
        old, new = load_file(base / "unet" / name), load_file(tmp_path / "edited" / "unet" / name)
        assert torch.equal(new[NAME], first_half_zero(old[NAME])) and new[NAME].dtype == dtype
        assert {name for name in old if not torch.equal(old[name], new[name])} == {NAME}


def test_shards_are_edited(base: Path, tmp_path: Path) -> None:
    shard(base)
    copy_with_edits(base, tmp_path / "edited", {NAME: torch.zeros_like, OTHER: torch.zeros_like})
    assert len(changed_files(base, tmp_path / "edited")) in (1, 2)
    edited = UNet2DConditionModel.from_pretrained(tmp_path / "edited" / "unet")
    original = UNet2DConditionModel.from_pretrained(base / "unet")
    old = dict(original.named_parameters())
    assert {name for name, value in edited.named_parameters() if not torch.equal(value, old[name])} == {NAME, OTHER}
    assert set(tensor_names(base)) == set(original.state_dict())


def test_sharded_half_precision_beside_plain(base: Path) -> None:
    model = UNet2DConditionModel.from_pretrained(base / "unet").half()
    model.save_pretrained(base / "unet", max_shard_size="150KB", variant="fp16")
    assert (base / "unet" / PLAIN).exists()
    copies = copies_of(base / "unet")
    assert list(copies) == [PLAIN, "diffusion_pytorch_model.safetensors.index.fp16.json"]
    assert [entry.dtype for _, entry in tensor_places(base, [NAME])[NAME]] == ["F32", "F16"]


def test_a_copy_that_lacks_the_tensor_is_refused(base: Path, tmp_path: Path) -> None:
    save_file({"lora": torch.ones(2)}, base / "unet" / "extra.safetensors")
    with pytest.raises(ExciseError, match=rf"extra\.safetensors: no tensor '{NAME}'.*move this copy away"):
        copy_with_edits(base, tmp_path / "edited", {NAME: torch.zeros_like})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_refused_in_any_copy(base: Path, value: float) -> None:
    check_finite(base)
    add_half_precision(base)
    file = base / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    weights = load_file(file)
    weights[NAME][3, 1] = value
    save_file(weights, file)
    for names in ([OTHER, NAME], None):
        with pytest.raises(ExciseError, match=rf"fp16\.safetensors: {NAME}: holds NaN or infinity"):
            check_finite(base, names)
    check_finite(base, [OTHER])


def test_integer_weights_are_refused(base: Path) -> None:
    weights = load_file(base / "unet" / PLAIN)
    save_file(weights | {NAME: weights[NAME].to(torch.int8)}, base / "unet" / PLAIN)
    with pytest.raises(ExciseError, match="stored as I8, which cannot be edited"):
        read_tensor(base, NAME)


@pytest.mark.parametrize(
    "content", [b"", b"\x05\0\0\0\0\0\0\0[1,2]", b"\x10\0\0\0\0\0\0\0{", b'\x09\0\0\0\0\0\0\0{"a": {}}']
)
def test_broken_files_are_refused(base: Path, content: bytes) -> None:
    (base / "unet" / PLAIN).write_bytes(content)
    with pytest.raises(ExciseError, match=f"{PLAIN}: .*fetch it again"):
        read_tensor(base, NAME)


def test_a_file_cut_short_is_refused(base: Path) -> None:
    file = base / "unet" / PLAIN
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ExciseError, match="cut short"):
        check_finite(base, [NAME])


@pytest.mark.parametrize("shards", [{"a": "gone.safetensors"}, {"a": "../vae/diffusion_pytorch_model.safetensors"}])
def test_a_broken_index_is_refused(base: Path, shards: dict[str, str]) -> None:
    (base / "unet" / f"{PLAIN}.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ExciseError, match="not beside it"):
        read_tensor(base, NAME)


def test_an_edit_keeps_shape_and_dtype(base: Path, tmp_path: Path) -> None:
    for edit in (lambda weight: weight[:, 1:], lambda weight: weight.double()):
        with pytest.raises(ExciseError, match=f"{NAME}: F32"):
            copy_with_edits(base, tmp_path / "edited", {NAME: edit})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_an_older_result_is_replaced(base: Path, tmp_path: Path) -> None:
    for edit in (torch.zeros_like, first_half_zero):
        copy_with_edits(base, tmp_path / "edited", {NAME: edit})
        assert torch.equal(read_tensor(tmp_path / "edited", NAME), edit(read_tensor(base, NAME)))
    DiffusionPipeline.from_pretrained(tmp_path / "edited")


def test_a_read_only_base_is_copied(base: Path, tmp_path: Path) -> None:
    for path in (*base.rglob("*"), base):
        path.chmod(0o555 if path.is_dir() else 0o444)
    copy_with_edits(base, tmp_path / "edited", {NAME: torch.zeros_like})
    assert (tmp_path / "edited" / "unet" / PLAIN).stat().st_mode & 0o200
    for path in (base, *base.rglob("*")):
        path.chmod(0o755)


def test_weights_that_are_not_edited_are_linked_and_nothing_that_is_written(base: Path, tmp_path: Path) -> None:
    shard(base)
    before = {file: file.read_bytes() for file in base.rglob("*") if file.is_file()}
    copy_with_edits(base, tmp_path / "edited", {NAME: torch.zeros_like})
    (written,) = {place[0] for place in tensor_places(base, [NAME])[NAME]}
    for file, content in before.items():
        copy = tmp_path / "edited" / file.relative_to(base)
        assert copy.samefile(file) == (file.suffix == ".safetensors" and file != written)
        assert file.read_bytes() == content


def test_where_nothing_can_be_linked_everything_is_copied(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copy_with_edits(base, tmp_path / "edited", {NAME: torch.zeros_like})
    assert changed_files(base, tmp_path / "edited") == [f"unet/{PLAIN}"]
    for file in (tmp_path / "edited").rglob("*"):
        assert not file.samefile(base / file.relative_to(tmp_path / "edited"))


def test_a_denoiser_that_is_not_its_configurations_is_refused(base: Path) -> None:
    check_against_config(base)
    weights = load_file(base / "unet" / PLAIN)
    save_file(weights | {NAME: weights[NAME][:-1].contiguous()}, base / "unet" / PLAIN, {"format": "pt"})
    with pytest.raises(ExciseError, match=r"mid_block.*: shape \(31, 128\), but config.json asks for \(32, 128\)"):
        check_against_config(base)
    del weights[NAME]
    save_file(weights, base / "unet" / PLAIN, {"format": "pt"})
    with pytest.raises(ExciseError, match=r"no tensor 'mid_block.*which config.json asks for"):
        check_against_config(base)


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """The system refuses larger files, as a full disk or a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_is_explained_and_leaves_nothing(base: Path, tmp_path: Path) -> None:
    with file_size_limit(100_000), pytest.raises(ExciseError, match=r"cannot be written .*free some space"):
        copy_with_edits(base, tmp_path / "edited", {NAME: torch.zeros_like})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_a_place_that_cannot_be_written_is_explained(base: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExciseError, match=r"cannot be written .*make it writable"):
        copy_with_edits(base, tmp_path / "file" / "edited", {NAME: torch.zeros_like})
