"""EXCISE.json: every byte of it counts, and what is not a record never makes a reader stumble."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from excise.errors import ExciseError
from excise.release.provenance import read_record
from excise.release.verify import verify
from tests.release.forging import content_of, found, write_content

OTHERS = (None, [], "text", {"a": []}, -1, [[]])
"""Values of which at most two are of a field's kind."""
MAPS = ("libraries", "files", "tensors", "tables", "images", "sets", "attack", "project")
"""Parts whose keys are not fields, and settings of methods, which are all read in one way."""


def at(content: Any, place: str) -> Any:
    """The part of a record at ``edit.files``; a * is the first."""
    for key in filter(None, place.split(".")):
        content = content[0] if isinstance(content, list) else content[next(iter(content)) if key == "*" else key]
    return content


def test_every_byte_of_the_record_counts(copy: Path) -> None:
    """Of a file that no hash lists."""
    record = (copy / "EXCISE.json").read_bytes()
    for place in range(0, len(record), 11):
        data = bytearray(record)
        data[place] ^= 1
        (copy / "EXCISE.json").write_bytes(bytes(data))
        with pytest.raises(ExciseError, match=r"EXCISE\.json: altered"):
            read_record(copy)


def test_the_same_record_in_another_spelling_is_none(copy: Path) -> None:
    (copy / "EXCISE.json").write_text(json.dumps(content_of(copy)))
    with pytest.raises(ExciseError, match=r"EXCISE\.json: altered"):
        read_record(copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "unet/../x", "unet//x", "a\\b", "."])
def test_names_that_lead_elsewhere_are_no_record(unsigned: Path, name: str) -> None:
    content = content_of(unsigned)
    content["files"][name] = content["files"].pop("LICENSE.md")
    write_content(unsigned, content)
    (fault,) = found(unsigned)
    assert "is not a plain name" in fault and "EXCISE.json" in fault


@pytest.mark.parametrize("rate", [1.0000001, -0.0000001, 90.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "place",
    [
        "verdict.models.edited.sets.held_out_verbatim.memorization_rate",
        "verdict.models.base.sets.located_verbatim.images_ever_replicated",
        "verdict.models.edited.sets.held_out_verbatim.interval.0",
        "verdict.threshold.never_seen.false_positive_rate",
    ],
)
def test_a_rate_is_a_share(unsigned: Path, place: str, rate: float) -> None:
    content = content_of(unsigned)
    parent, _, key = place.rpartition(".")
    part = at(content, parent)
    part[0 if isinstance(part, list) else key] = rate
    write_content(unsigned, content)
    (fault,) = found(unsigned)
    assert "EXCISE.json" in fault and place in fault


@pytest.mark.parametrize(
    "place",
    [
        "",
        "excise",
        "base",
        "licence",
        "edit",
        "edit.tensors.*",
        "edit.tensors.*.copies.*",
        "prompts",
        "publish",
        "verdict",
        "verdict.checks.*",
        "verdict.threshold",
        "verdict.models.edited",
        "verdict.models.edited.sets.*",
        "verdict.evidence",
        "files.*",
    ],
)
def test_unknown_fields_are_no_record(unsigned: Path, place: str) -> None:
    content = content_of(unsigned)
    at(content, place)["more"] = 1
    write_content(unsigned, content)
    (fault,) = found(unsigned)
    assert "EXCISE.json" in fault and "more" in fault


@pytest.mark.parametrize("version", [1, 3, "2"])
def test_another_format_is_no_record(unsigned: Path, version: object) -> None:
    write_content(unsigned, content_of(unsigned) | {"format": version})
    (fault,) = found(unsigned)
    assert "of another version of excise: format" in fault


def parts(content: Any, name: str = "", first: bool = False) -> Iterator[tuple[Any, Any, str]]:
    """Every value of a record: the part that holds it, its key, its place; of lists and maps the first alone."""
    keys = list(range(len(content)) if isinstance(content, list) else content)
    for key in keys[:1] if first else keys:
        value, place = content[key], f"{name}.{key}"
        yield content, key, place
        if isinstance(value, dict | list):
            yield from parts(value, place, isinstance(value, list) or key in MAPS)


def test_no_record_makes_verify_stumble(unsigned: Path) -> None:
    """Every value in turn replaced by two of other kinds, under a right sha256: a finding, never a traceback."""
    content = content_of(unsigned)
    passed: dict[str, int] = {}
    for number, (part, key, place) in enumerate(list(parts(content))):
        kept = part[key]
        for other in OTHERS[number % 3 :: 3]:
            part[key] = other
            write_content(unsigned, content)
            findings = verify(unsigned)
            assert all(finding.what for finding in findings)
            passed[place] = passed.get(place, 0) + (not any(finding.faults for finding in findings))
        part[key] = kept
    write_content(unsigned, content)
    assert found(unsigned) == []
    assert len(passed) > 200
    free = (".sha256", ".verdict.settings.model")  # written anew; no part of the verdict
    assert not [place for place, times in passed.items() if times > 1 and not place.startswith(free)]
