"""Records by a forger who knows the format: what contradicts itself, the recipe, or the base is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from excise.checkpoint.tensorfile import read_header
from excise.release.provenance import read_record, write_record
from tests.release.forging import WEIGHTS, forge, found, sha256


def says(release: Path, words: str, base: Path | None = None) -> bool:
    return any(words in fault for fault in found(release, base))


def test_a_forged_verdict_is_found(unsigned: Path) -> None:
    def raise_rate(record: dict[str, Any]) -> None:
        record["verdict"]["models"]["edited"]["sets"]["held_out_verbatim"]["memorization_rate"] = 0.9

    forge(unsigned, raise_rate)
    assert says(unsigned, "passed, but its numbers give failed")
    assert says(unsigned, "accepted is True, but its numbers give False")
    assert says(unsigned, "the verdict refuses this edit")


def test_a_verdict_without_the_edited_model_is_found(unsigned: Path) -> None:
    forge(unsigned, lambda record: record["verdict"]["models"].pop("edited"))
    assert says(unsigned, "EXCISE.json: not what excise writes")


def test_limits_and_kinds_are_the_recipes_and_the_numbers(unsigned: Path) -> None:
    whole = read_record(unsigned)

    def loosen(record: dict[str, Any]) -> None:
        record["verdict"]["settings"]["verdict"]["held_out_replication"] = 0.95
        record["verdict"]["kinds"] = ("template",)

    forge(unsigned, loosen)
    assert says(unsigned, "verdict.settings.verdict: not that of the recipe")
    write_record(unsigned, whole)
    forge(unsigned, lambda record: record.update(recipe=record["recipe"] + "# more\n"))
    assert says(unsigned, "recipe.toml: not the recipe")


def test_kinds_that_were_measured_are_asked_for_though_the_verdict_leaves_them_out(unsigned: Path) -> None:
    forge(unsigned, lambda record: record["verdict"].update(kinds=("template",)))
    assert says(unsigned, "verdict.kinds: ['template'], and of ['template', 'verbatim'] there are numbers")

    def raise_rate(record: dict[str, Any]) -> None:
        record["verdict"]["models"]["edited"]["sets"]["held_out_verbatim"]["memorization_rate"] = 0.9

    forge(unsigned, raise_rate)
    assert says(unsigned, "the verdict refuses this edit")


@pytest.mark.parametrize(("key", "value"), [("method", "random"), ("sites", "ffn_first")])
def test_the_edit_is_the_recipes(unsigned: Path, key: str, value: str) -> None:
    forge(unsigned, lambda record: record["edit"].update({key: value}))
    assert says(unsigned, f"edit.{key} is {value!r}, but the recipe's")


def test_files_of_other_hashes_are_found(unsigned: Path) -> None:
    def swap(record: dict[str, Any]) -> None:
        record["edit"]["files"][WEIGHTS] = record["base"]["files"][WEIGHTS]

    forge(unsigned, swap)
    assert says(unsigned, "edit.changed")
    assert says(unsigned, "listed with another hash than the edit left")


def test_weights_that_the_record_leaves_out_are_found(unsigned: Path, released: Path) -> None:
    def leave_out(record: dict[str, Any]) -> None:
        record["edit"] |= {"tensors": {}, "changed": []}
        del record["edit"]["files"][WEIGHTS]

    weights = unsigned / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4] + b"junk")
    forge(unsigned, leave_out)
    assert says(unsigned, f"{WEIGHTS}: neither of the model nor excise's own")
    assert says(unsigned, "differs, and is not in the plan", released / "base")


def test_junk_in_a_planned_tensor_is_found_beside_the_base(unsigned: Path, released: Path) -> None:
    """Where a weight stood that is not changed: hashes and zeros are as recorded, so only the base can tell."""
    weights = unsigned / WEIGHTS
    tensor, planned = next(iter(read_record(unsigned).edit.tensors.items()))
    entry, data = read_header(weights)[tensor], bytearray(weights.read_bytes())
    start = next(at for at in range(entry.start, entry.stop, 4) if any(data[at : at + 4]))
    data[start : start + 4] = b"junk"
    weights.write_bytes(bytes(data))

    def other_hashes(record: dict[str, Any]) -> None:
        record["edit"]["files"][WEIGHTS] = sha256(bytes(data))
        copy = record["edit"]["tensors"][tensor]["copies"][WEIGHTS]
        copy["after"] = sha256(bytes(data[entry.start : entry.stop]))

    forge(unsigned, other_hashes)
    assert found(unsigned) == []  # without the base there is no telling
    changed = planned.copies[WEIGHTS].changed
    assert says(unsigned, f"differs in {changed + 1} entries, and {changed} are planned", released / "base")
    assert says(unsigned, "1 of the entries that differ are not zero, as planned", released / "base")
