"""``excise verify``: does a release folder hold what its record says, and does the verdict follow from its numbers?

Nothing is loaded, no code of the folder runs, and memory does not grow with the weights.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import TemplateError
from pydantic import ValidationError

from excise.errors import ExciseError
from excise.files.hashing import sha256_file
from excise.prompts.questions import question
from excise.recipe import Recipe
from excise.release.concept_faults import concept_faults
from excise.release.edit_faults import base_faults, edit_faults
from excise.release.names import RECIPE, RECORD, SIGNATURE
from excise.release.number_faults import number_faults
from excise.release.pages import page_faults
from excise.release.provenance import Record, read_record
from excise.release.safety import odd_files, release_files, safety_faults
from excise.release.search_faults import search_faults
from excise.release.signing import check_signature
from excise.verdict.decide import decide
from excise.verdict.search_checks import fate_of


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    faults: tuple[str, ...] = ()
    """What is wrong, each naming a file or key; none where all is right."""
    note: str = ""
    """What was found, or why it was not looked at."""
    skipped: bool = False


def verify(folder: Path, public_key: Path | None = None, base: Path | None = None) -> tuple[Finding, ...]:
    """Look at everything that can be looked at; the release is right if no finding has a fault.

    Args:
        folder: the release, as it was made or as it was downloaded.
        public_key: checks the signature.
        base: folder of the base; checks that nothing but the planned tensors differs from it.

    Raises:
        ExciseError: no such folder, or a key or base that cannot be used.
    """
    if not folder.is_dir():
        raise ExciseError(f"{folder}: no such folder; give the folder of a release")
    if base is not None and not base.is_dir():
        raise ExciseError(f"{base}: no such folder; give the folder of the base")
    if odd := odd_files(folder):
        faults = tuple(f"{folder / name}: is no file: a device, a pipe or a socket" for name in odd)
        return (_printable(Finding("safety", faults)),)
    try:
        record = read_record(folder)
    except ExciseError as error:
        return (_printable(Finding("record", (str(error),))),)
    findings = (
        Finding("record", note=f"{RECORD} is as it was written, by excise {record.excise.version}"),
        _files(folder, record),
        *look_inside(folder, record),
        _signature(folder, record, public_key),
        _against(base, folder, record),
    )
    return tuple(map(_printable, findings))


def look_inside(folder: Path, record: Record) -> tuple[Finding, ...]:
    """What can be looked at without a key, without the base, and without hashing every file again."""
    return (
        _caught(
            "safety",
            lambda: safety_faults(folder, record.licence.texts),
            "safetensors, settings, texts and pictures alone: no pickle, no code, no script, no link to elsewhere",
        ),
        _caught(
            "edit",
            lambda: edit_faults(folder, record, _recipe(record)),
            f"{len(record.edit.tensors)} tensors in {len(record.edit.changed)} files are said to be changed",
        ),
        _verdict(folder, record),
        _caught(
            "pages",
            lambda: page_faults(folder, record, _recipe(record)),
            "card and notice of changes say what follows from the record, and nothing else",
        ),
    )


def what_it_means(findings: Sequence[Finding]) -> list[str]:
    """What a reader may take from findings without a fault, and what not, in sentences; nothing if there is a fault."""
    if any(finding.faults for finding in findings):
        return []
    skipped = {finding.what for finding in findings if finding.skipped}
    lines = ["Every file is the record's, none holds code, and card, changes and verdict follow from the record."]
    if "signature" in skipped:
        lines.append("Not known: who made it. Whoever can replace all files can write a record to match: --public-key.")
    else:
        lines.append("Known: the holder of the key signed all of it.")
    if "base" in skipped:
        lines.append("Not known: whether anything else than the planned tensors was changed: --base.")
    else:
        lines.append("Known: beside the base, nothing differs but the planned tensors, each as recorded.")
    lines.append(
        "The publisher's word in any case: that the numbers were measured, the title, the pictures, the report. "
        f"`excise run {RECIPE}` measures again."
    )
    return lines


def _caught(what: str, look: Callable[[], Iterator[str]], note: str) -> Finding:
    """A finding whose faults ``look`` names; what it stumbles over is one too."""
    faults: list[str] = []
    try:
        faults.extend(look())
    except ExciseError as error:
        faults.append(str(error))
    except OSError as error:
        faults.append(f"{error.filename}: cannot be read ({error.strerror})")
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        ArithmeticError,
        TemplateError,
    ) as error:
        said = " ".join(str(error).split())
        faults.append(f"{RECORD}: not what excise writes: {type(error).__name__} {said}")
    return Finding(what, tuple(dict.fromkeys(faults)), "" if faults else note)


def _printable(finding: Finding) -> Finding:
    """The finding with what a terminal would act upon, or a reader not see, written out: names are a forger's too."""
    shown = (
        "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) for text in (finding.note, *finding.faults)
    )
    note, *faults = shown
    return replace(finding, note=note, faults=tuple(faults))


def _recipe(record: Record) -> Recipe:
    """The recipe that a record holds.

    Raises:
        ExciseError: it is none.
    """
    try:
        return Recipe.model_validate(tomllib.loads(record.recipe))
    except tomllib.TOMLDecodeError as error:
        raise ExciseError(f"{RECORD}: recipe: is not a recipe: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ExciseError(f"{RECORD}: recipe: {where}: is not a recipe of this version: {first['msg']}") from error


def _files(folder: Path, record: Record) -> Finding:
    def look() -> Iterator[str]:
        listed, there = record.files, release_files(folder)
        yield from (f"{folder / name}: not listed in {RECORD}" for name in sorted(there - listed.keys()))
        names = sorted(listed, key=lambda name: -listed[name].size)
        missing = [name for name in names if not (folder / name).is_file()]
        yield from (f"{folder / name}: missing" for name in missing)
        names = [name for name in names if name not in missing]
        sizes = {name: (folder / name).stat().st_size for name in names}
        other = [name for name in names if sizes[name] != listed[name].size]
        yield from (f"{folder / name}: altered: {sizes[name]:,} bytes, of {listed[name].size:,}" for name in other)
        names = [name for name in names if name not in other]
        with ThreadPoolExecutor(4) as pool:
            hashes = dict(zip(names, pool.map(lambda name: sha256_file(folder / name), names), strict=True))
        yield from (f"{folder / name}: altered" for name in names if hashes[name] != listed[name].sha256)

    return _caught("files", look, f"{len(record.files)} files, each with the sha256 that is recorded, and no other")


def _verdict(folder: Path, record: Record) -> Finding:
    """The verdict is that of the recipe's limits on the recorded numbers, and accepts."""
    verdict = record.verdict

    def look() -> Iterator[str]:
        recipe = _recipe(record)
        if (folder / RECIPE).read_text(encoding="utf-8") != record.recipe:
            yield f"{folder / RECIPE}: not the recipe of {RECORD}"
        yield from number_faults(folder, record, recipe)
        asked = [question(key) for key in verdict.base.sets]
        kinds = {found.kind for found in asked if found.memorized and found.kind} | set(verdict.kinds)
        yield from (f"{RECORD}: {where}: {fault}" for where, fault in concept_faults(verdict, recipe))
        yield from (f"{RECORD}: verdict.{fault}" for fault in search_faults(verdict, recipe))
        checks, reasons = decide(
            verdict.models,
            verdict.threshold,
            kinds,
            recipe.verdict,
            verdict.attacks,
            verdict.comparisons,
            verdict.whole,
        )
        if verdict.fate != (follows := fate_of(checks, verdict.comparisons)):
            yield f"{RECORD}: verdict.fate: {verdict.fate!r}, but its numbers give {follows!r}"
        for kept, found in zip(verdict.checks, checks, strict=True):
            if kept.judged != found.judged:
                yield f"{RECORD}: {found.question}: {kept.status}, but its numbers give {found.status}"
            elif kept != found:
                yield f"{RECORD}: verdict.checks: {found.question}: not said, or not with the controls, that follow"
        if verdict.accepted is not (not reasons) or verdict.reasons != reasons:
            yield f"{RECORD}: verdict: accepted is {verdict.accepted}, but its numbers give {not reasons}"
        yield from (f"the verdict refuses this edit: {reason}" for reason in reasons)
        waived.extend(check.name for check in checks if check.status == "not required")

    waived: list[str] = []
    found = _caught("verdict", look, "accepted, as its numbers have it")
    if waived and not found.faults:
        return replace(found, note=f"{found.note}; waived: {', '.join(dict.fromkeys(waived))}")
    return found


def _signature(folder: Path, record: Record, public_key: Path | None) -> Finding:
    there = (folder / SIGNATURE).is_file()
    if there != record.signed:
        said = "signed, but its signature is missing" if record.signed else "not signed, but a signature lies there"
        return Finding("signature", (f"{folder / SIGNATURE}: the release is {said}",))
    if public_key is None:
        note = f"{SIGNATURE} was not checked: give --public-key" if there else "the release is not signed"
        return Finding("signature", note=note, skipped=True)
    fault = check_signature(folder, public_key)
    return Finding("signature", (fault,) if fault else (), "" if fault else f"every file, with {public_key}")


def _against(base: Path | None, folder: Path, record: Record) -> Finding:
    if base is None:
        return Finding("base", note="not compared: give --base", skipped=True)
    note = f"nothing differs from {base} but {len(record.edit.tensors)} planned tensors"
    return _caught("base", lambda: base_faults(base, folder, record), note)
