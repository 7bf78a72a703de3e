"""Copying with changes: on real folders, in every layout that weights come in, and what is told of it."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.checkpoint.copying import copy_files, copy_with_changes
from excise.diffusion.patching import Change
from excise.errors import ExciseError
from tests.checkpoint.layouts import HALF, NAME, OTHER, PLAIN, add_half_precision, contents, shard


class Told:
    """An observer that keeps what it is told, by file and tensor."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}

    def observe(self, file: str, tensor: str, before: Tensor, after: Tensor) -> None:
        assert (file, tensor) not in self.of
        self.of[file, tensor] = before, after


def copy(base: Path, target: Path, changes: dict[str, Change]) -> Told:
    told = Told()
    copy_with_changes(Checkpoint.open(base), target, changes, told.observe)
    return told


def first_half_zero(weight: Tensor) -> Tensor:
    edited = weight.clone()
    edited[: len(weight) // 2] = 0
    return edited


def changed_files(base: Path, edited: Path) -> list[str]:
    """Names of the files that differ; both folders must have the same files."""
    before, after = contents(base), contents(edited)
    assert before.keys() == after.keys()
    return sorted(name for name in before if before[name] != after[name])


def test_exactly_the_planned_bytes_differ(base: Path, tmp_path: Path) -> None:
    copy(base, tmp_path / "edited", {NAME: first_half_zero, OTHER: torch.zeros_like})
    changed = f"unet/{PLAIN}"
    assert changed_files(base, tmp_path / "edited") == [changed]
    before, after = (base / changed).read_bytes(), (tmp_path / "edited" / changed).read_bytes()
    places = Checkpoint.open(base).places([NAME, OTHER])
    allowed = {i for ((_, entry),) in places.values() for i in range(entry.start, entry.stop)}
    assert {i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b} <= allowed
    old, new = load_file(base / changed), load_file(tmp_path / "edited" / changed)
    assert {name for name in old if not torch.equal(old[name], new[name])} == {NAME, OTHER}
    assert torch.equal(new[NAME], first_half_zero(old[NAME]))
    assert not new[OTHER].any()


def test_every_precision_is_changed(base: Path, tmp_path: Path) -> None:
    add_half_precision(base)
    copy(base, tmp_path / "edited", {NAME: first_half_zero})
    for name, dtype in ((PLAIN, torch.float32), (HALF, torch.float16)):
        old, new = load_file(base / "unet" / name), load_file(tmp_path / "edited" / "unet" / name)
        assert torch.equal(new[NAME], first_half_zero(old[NAME])) and new[NAME].dtype == dtype
        assert {name for name in old if not torch.equal(old[name], new[name])} == {NAME}


def test_the_observer_is_told_of_every_copy_and_of_nothing_else(base: Path, tmp_path: Path) -> None:
    add_half_precision(base)
    told = copy(base, tmp_path / "edited", {NAME: first_half_zero, OTHER: Tensor.clone})
    assert told.of.keys() == {(f"unet/{file}", name) for file in (PLAIN, HALF) for name in (NAME, OTHER)}
    for (file, name), (before, after) in told.of.items():
        assert before.dtype == after.dtype == (torch.float16 if HALF in file else torch.float32)
        assert torch.equal(before, load_file(base / file)[name])
        assert torch.equal(after, load_file(tmp_path / "edited" / file)[name])
        assert torch.equal(before, after) == (name == OTHER)  # told of what was named, though nothing came of it


def test_the_observer_is_told_in_which_shard_a_tensor_lies(base: Path, tmp_path: Path) -> None:
    shard(base)
    told = copy(base, tmp_path / "edited", {NAME: torch.zeros_like, OTHER: torch.zeros_like})
    places = Checkpoint.open(base).places([NAME, OTHER])
    assert told.of.keys() == {(f"unet/{file.name}", name) for name, ((file, _),) in places.items()}
    assert sorted({file for file, _ in told.of}) == changed_files(base, tmp_path / "edited")


def test_without_changes_the_observer_is_told_nothing(base: Path, tmp_path: Path) -> None:
    assert copy(base, tmp_path / "copy", {}).of == {}
    assert changed_files(base, tmp_path / "copy") == []


def test_an_observer_that_fails_leaves_nothing(base: Path, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no room for the record")

    with pytest.raises(RuntimeError, match="no room for the record"):
        copy_with_changes(Checkpoint.open(base), tmp_path / "edited", {NAME: torch.zeros_like}, fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_shards_are_changed(base: Path, tmp_path: Path) -> None:
    shard(base)
    copy(base, tmp_path / "edited", {NAME: torch.zeros_like, OTHER: torch.zeros_like})
    assert len(changed_files(base, tmp_path / "edited")) in (1, 2)
    edited = UNet2DConditionModel.from_pretrained(tmp_path / "edited" / "unet")
    old = dict(UNet2DConditionModel.from_pretrained(base / "unet").named_parameters())
    assert {name for name, value in edited.named_parameters() if not torch.equal(value, old[name])} == {NAME, OTHER}


def test_a_tensor_that_is_not_there_is_refused_before_anything_is_written(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ExciseError, match=rf"{PLAIN}: no tensor 'nothing'"):
        copy(base, tmp_path / "edited", {NAME: torch.zeros_like, "nothing": torch.zeros_like})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_a_change_keeps_shape_and_dtype(base: Path, tmp_path: Path) -> None:
    for change in (lambda weight: weight[:, 1:], lambda weight: weight.double()):
        with pytest.raises(ExciseError, match=f"{NAME}: F32"):
            copy(base, tmp_path / "edited", {NAME: change})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_an_older_result_is_replaced_by_a_new_one_and_not_by_a_failure(base: Path, tmp_path: Path) -> None:
    for change in (torch.zeros_like, first_half_zero):
        copy(base, tmp_path / "edited", {NAME: change})
        found = Checkpoint.open(tmp_path / "edited").read(NAME)
        assert torch.equal(found, change(Checkpoint.open(base).read(NAME)))
    with pytest.raises(ExciseError, match="locate again on this checkpoint"):
        copy(base, tmp_path / "edited", {NAME: Tensor.double})
    assert torch.equal(Checkpoint.open(tmp_path / "edited").read(NAME), found)
    DiffusionPipeline.from_pretrained(tmp_path / "edited")


def test_a_read_only_base_is_copied(base: Path, tmp_path: Path) -> None:
    for path in (*base.rglob("*"), base):
        path.chmod(0o555 if path.is_dir() else 0o444)
    copy(base, tmp_path / "edited", {NAME: torch.zeros_like})
    assert (tmp_path / "edited" / "unet" / PLAIN).stat().st_mode & 0o200
    for path in (base, *base.rglob("*")):
        path.chmod(0o755)


def test_weights_that_are_not_changed_are_linked_and_nothing_that_is_written(base: Path, tmp_path: Path) -> None:
    shard(base)
    before = contents(base)
    told = copy(base, tmp_path / "edited", {NAME: torch.zeros_like})
    ((written, _),) = told.of
    for name, content in before.items():
        linked = (tmp_path / "edited" / name).samefile(base / name)
        assert linked == (name.endswith(".safetensors") and name != written)
        assert (base / name).read_bytes() == content


def test_what_the_base_links_to_is_copied_as_files(base: Path, tmp_path: Path) -> None:
    """As in a snapshot of the Hub's cache."""
    whole = contents(base)
    for name in (f"unet/{PLAIN}", "vae/diffusion_pytorch_model.safetensors", "unet/config.json"):
        (base / name).rename(base / f"{name}-blob")
        (base / name).symlink_to(base / f"{name}-blob")
    copy(base, tmp_path / "edited", {NAME: torch.zeros_like})
    assert not any(path.is_symlink() for path in (tmp_path / "edited").rglob("*"))
    copied = contents(tmp_path / "edited")
    assert copied.keys() == whole.keys()
    assert [name for name in whole if whole[name] != copied[name]] == [f"unet/{PLAIN}"]
    assert all((base / name).read_bytes() == content for name, content in whole.items())


def test_where_nothing_can_be_linked_everything_is_copied(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copy(base, tmp_path / "edited", {NAME: torch.zeros_like})
    assert changed_files(base, tmp_path / "edited") == [f"unet/{PLAIN}"]
    for file in (tmp_path / "edited").rglob("*"):
        assert not file.samefile(base / file.relative_to(tmp_path / "edited"))


def test_files_are_copied_by_name_and_no_name_leads_out(base: Path, tmp_path: Path) -> None:
    names = ("model_index.json", f"unet/{PLAIN}")
    copy_files(base, tmp_path / "some", names)
    assert contents(tmp_path / "some") == {name: (base / name).read_bytes() for name in names}
    for name in ("../base/model_index.json", "unet/../../x", "/etc/hostname"):
        with pytest.raises(ExciseError, match="leads out of the folder"):
            copy_files(base, tmp_path / "more", [name])
    assert not (tmp_path / "more").exists()


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
        copy(base, tmp_path / "edited", {NAME: torch.zeros_like})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_a_place_that_cannot_be_written_is_explained(base: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExciseError, match=r"cannot be written .*make it writable"):
        copy(base, tmp_path / "file" / "edited", {NAME: torch.zeros_like})
