"""What a record says of each changed tensor is looked at: its hash, its zeros, how much of it differs from the base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from excise.checkpoint.tensorfile import Entry, read_header
from excise.release.provenance import read_record
from tests.release.forging import WEIGHTS, content_of, forge, found, recounted, sha256, write_content

Tensor = dict[str, Any]
NO_ZEROS = "EXCISE.json: edit.tensors: the method 'zero' only sets to zero, but no zeros are stated"
"""What is found of a record of zeros that keeps silent about them, whatever else is wrong with it."""


def first(record: dict[str, Any]) -> Tensor:
    tensor: Tensor = next(iter(record["edit"]["tensors"].values()))
    return tensor


def changes(release: Path) -> int:
    """Entries of the first changed tensor that differ from the base."""
    count: int = first(content_of(release))["copies"][WEIGHTS]["changed"]
    assert count > 10
    return count


def faults_of(release: Path, change: Callable[[Tensor], object], base: Path | None = None) -> list[str]:
    """What is found when the first changed tensor's record is changed."""
    forge(release, recounted(lambda record: change(first(record))))
    return found(release, base)


def test_the_hash_of_every_changed_tensor_is_looked_at(unsigned: Path) -> None:
    """The file's own hash is right, and the base is not needed."""
    for name in read_record(unsigned).edit.tensors:

        def other(record: dict[str, Any], name: str = name) -> None:
            copy = record["edit"]["tensors"][name]["copies"][WEIGHTS]
            copy["after"], copy["before"] = copy["before"], copy["after"]

        forge(unsigned, other)
        assert found(unsigned) == [f"{WEIGHTS}: {name} does not have the sha256 that is recorded"]
        forge(unsigned, other)
    assert found(unsigned) == []


def test_no_more_is_zero_than_is_zero(unsigned: Path) -> None:
    def claim(tensor: Tensor) -> None:
        tensor["zeroed"] += 1

    zeroed = first(content_of(unsigned))["zeroed"]
    (fault,) = faults_of(unsigned, claim)
    assert f"{zeroed + 1} entries are said to be zeroed, and {zeroed} are zero" in fault


def test_no_more_differs_than_was_zeroed(unsigned: Path) -> None:
    changed = changes(unsigned)
    (fault,) = faults_of(unsigned, lambda tensor: tensor.update(zeroed=changed - 1))
    assert f"{changed} entries are said to differ, and only {changed - 1} to be zeroed" in fault


def test_no_more_differs_than_there_is(unsigned: Path) -> None:
    changed = changes(unsigned)
    size, silent, fault = sorted(faults_of(unsigned, lambda tensor: tensor.update(entries=changed - 1, zeroed=None)))
    assert silent == NO_ZEROS and f"{changed} changed of {changed - 1} entries" in fault
    assert f"{changed - 1} entries of 'ffn', and it has 1024" in size
    size, fault = sorted(faults_of(unsigned, lambda tensor: tensor.update(entries=2000, zeroed=changed)))
    assert "2000 entries of 'ffn'" in size and "of 2000 entries, of 1024 in the file" in fault


@pytest.mark.parametrize("by", [1, -1])
def test_beside_the_base_the_count_of_what_differs_is_looked_at(unsigned: Path, released: Path, by: int) -> None:
    """Of an edit that is not said to be zeros alone, where zeros give no hint."""

    def recount(tensor: Tensor) -> None:
        tensor["copies"][WEIGHTS]["changed"] += by
        tensor["zeroed"] = None

    changed = changes(unsigned)
    assert faults_of(unsigned, recount) == [NO_ZEROS]
    silent, fault = sorted(found(unsigned, released / "base"))
    assert silent == NO_ZEROS and f"differs in {changed} entries, and {changed + by} are planned" in fault


def test_fewer_changes_than_there_are_are_found_where_all_are_zeros(unsigned: Path, released: Path) -> None:
    def recount(tensor: Tensor) -> None:
        tensor["copies"][WEIGHTS]["changed"] -= 1

    changed = changes(unsigned)
    assert faults_of(unsigned, recount) == []  # an entry that was zero before is zeroed and does not change
    (fault,) = found(unsigned, released / "base")
    assert f"differs in {changed} entries, and {changed - 1} are planned" in fault


def test_the_base_of_every_changed_tensor_is_looked_at(unsigned: Path, released: Path) -> None:
    name = next(iter(read_record(unsigned).edit.tensors))
    assert faults_of(unsigned, lambda tensor: tensor["copies"][WEIGHTS].update(before="0" * 64)) == []
    (fault,) = found(unsigned, released / "base")
    assert fault == f"{WEIGHTS}: {name} does not have the sha256 that is recorded of the base"


def hardly_edited(release: Path, base: Path) -> tuple[bytes, dict[str, Entry]]:
    """The base's own weights, with a single zero where each changed tensor ends."""
    data = bytearray((base / WEIGHTS).read_bytes())
    entries = read_header(base / WEIGHTS)
    planned = {name: entries[name] for name in read_record(release).edit.tensors}
    for entry in planned.values():
        assert any(data[entry.stop - 4 : entry.stop])
        data[entry.stop - 4 : entry.stop] = bytes(4)
    return bytes(data), planned


def test_the_bases_own_weights_with_a_zero_in_each_tensor_are_found(unsigned: Path, released: Path) -> None:
    """Under a record of the whole edit, with every hash made right."""
    base = released / "base"
    data, entries = hardly_edited(unsigned, base)
    (unsigned / WEIGHTS).write_bytes(data)

    def other_hashes(record: dict[str, Any]) -> None:
        record["edit"]["files"][WEIGHTS] = sha256(data)
        for name, entry in entries.items():
            record["edit"]["tensors"][name]["copies"][WEIGHTS]["after"] = sha256(data[entry.start : entry.stop])

    forge(unsigned, other_hashes)
    for name, tensor in read_record(unsigned).edit.tensors.items():
        said = f"{WEIGHTS}: {name}: {tensor.zeroed} entries are said to be zeroed, and 1 are zero"
        assert said in found(unsigned)
        assert f"{WEIGHTS}: {name} differs in 1 entries, and {tensor.zeroed} are planned" in found(unsigned, base)

    def not_zeros_alone(record: dict[str, Any]) -> None:
        for name in entries:
            record["edit"]["tensors"][name]["zeroed"] = None

    forge(unsigned, recounted(not_zeros_alone))
    assert found(unsigned) == [NO_ZEROS]
    counts, norms = ([fault for fault in found(unsigned, base) if word in fault] for word in ("planned", "is recorded"))
    assert len(counts) == len(norms) == len(entries) == 7


def test_a_tensor_of_no_file_is_no_record(unsigned: Path) -> None:
    """Nothing could be looked at, and its zeros would count."""
    content = content_of(unsigned)
    content["edit"]["tensors"]["made.up.weight"] = {"entries": 10**6, "zeroed": 10**6, "copies": {}}
    write_content(unsigned, content)
    (fault,) = found(unsigned)
    assert "EXCISE.json" in fault and "made.up.weight.copies" in fault


def test_a_tensor_that_is_not_in_its_file_is_found(unsigned: Path) -> None:
    def rename(record: dict[str, Any]) -> None:
        tensors = record["edit"]["tensors"]
        tensors["made.up.weight"] = tensors.pop(next(iter(tensors)))

    forge(unsigned, rename)
    site, fault = sorted(found(unsigned))
    assert "made.up.weight: 1024 entries of 'ffn', and it is none of them" in site
    assert fault == f"{WEIGHTS}: made.up.weight is not there, though it is said to be changed"


@pytest.mark.parametrize("file", ["vae/diffusion_pytorch_model.safetensors", "excise/recipe.toml", "unet/none"])
def test_a_tensor_in_another_file_is_found(unsigned: Path, file: str) -> None:
    def move(tensor: Tensor) -> None:
        tensor["copies"][file] = tensor["copies"].pop(WEIGHTS)

    assert any(f"said to be changed in {file}" in fault for fault in faults_of(unsigned, move))
