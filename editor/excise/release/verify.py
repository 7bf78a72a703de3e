"""``excise verify``: does a release folder hold what its record says, and does the verdict follow from its numbers?

Nothing is loaded, no code of the folder runs, and memory does not grow with the files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.checkpoint.compare import compare_folders
from excise.checkpoint.tensorfile import read_header
from excise.diffusion.load import DENOISERS
from excise.edits import method
from excise.edits.edit_record import ChangedTensor
from excise.edits.planned import altered, of_another_base, unplanned
from excise.errors import ExciseError
from excise.files.hashing import sha256_file
from excise.prompts.questions import question
from excise.recipe import Recipe
from excise.release.provenance import RECIPE, RECORD, SIGNATURE, Record, read_record
from excise.release.signing import OF_THE_CLIENT, OF_THE_HUB, check_signature
from excise.verdict.decide import decide


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
    try:
        record = read_record(folder)
    except ExciseError as error:
        return (Finding("record", (str(error),)),)
    return (
        Finding("record", note=f"{RECORD} is as it was written, by excise {record.excise.version}"),
        _files(folder, record),
        _caught("safety", lambda: _safe(folder), "safetensors only: no pickle, no code, no link to elsewhere"),
        _edit(folder, record),
        _verdict(folder, record),
        _signature(folder, record, public_key),
        _against(base, folder, record),
    )


def _caught(what: str, look: Callable[[], Iterator[str]], note: str) -> Finding:
    """A finding whose faults ``look`` names; what it stumbles over is one too."""
    faults: list[str] = []
    try:
        faults.extend(look())
    except ExciseError as error:
        faults.append(str(error))
    except OSError as error:
        faults.append(f"{error.filename}: cannot be read ({error.strerror})")
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, ArithmeticError) as error:
        faults.append(f"{RECORD}: not what excise writes: {type(error).__name__} {error}")
    return Finding(what, tuple(faults), "" if faults else note)


def _names(folder: Path) -> set[str]:
    """Names of all that lies in the folder, without record, signature and what the Hub and its client add."""
    names = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    return {name for name in names - {RECORD, SIGNATURE, OF_THE_HUB} if not name.startswith(f"{OF_THE_CLIENT}/")}


def _files(folder: Path, record: Record) -> Finding:
    def look() -> Iterator[str]:
        listed, there = record.files, _names(folder)
        yield from (f"{folder / name}: not listed in {RECORD}" for name in sorted(there - listed.keys()))
        names = sorted(listed, key=lambda name: -listed[name].size)
        missing = [name for name in names if not (folder / name).is_file()]
        yield from (f"{folder / name}: missing" for name in missing)
        names = [name for name in names if name not in missing]
        with ThreadPoolExecutor(4) as pool:
            hashes = dict(zip(names, pool.map(lambda name: sha256_file(folder / name), names), strict=True))
        yield from (f"{folder / name}: altered" for name in names if hashes[name] != listed[name].sha256)
        sizes = {name: (folder / name).stat().st_size for name in names}
        yield from (f"{RECORD}: {name}: of another size" for name in names if sizes[name] != listed[name].size)

    return _caught("files", look, f"{len(record.files)} files, each with the sha256 that is recorded, and no other")


def _safe(folder: Path) -> Iterator[str]:
    Checkpoint.open(folder)
    yield from ()


def _edit(folder: Path, record: Record) -> Finding:
    """Every file is the base's, edited or not, or excise's own; what is said to be changed is what the hashes say."""

    def look() -> Iterator[str]:
        edit, before = record.edit, record.base.files
        for name in sorted(record.files.keys() ^ (edit.files.keys() | record.own())):
            yield f"{RECORD}: {name}: neither of the model nor excise's own, or not listed"
        yield from (
            f"{RECORD}: {name}: not among the base's files" for name in sorted(edit.files.keys() - before.keys())
        )
        for name, digest in edit.files.items():
            if name in record.files and record.files[name].sha256 != digest:
                yield f"{RECORD}: {name}: listed with another hash than the edit left"
        changed = sorted(name for name, after in edit.files.items() if before.get(name) != after)
        if changed != sorted(edit.changed):
            yield f"{RECORD}: edit.changed names {edit.changed}, but the hashes of {changed} differ from the base's"
        yield from (
            f"{RECORD}: licence.texts: {text} is missing" for text in record.licence.texts if text not in record.files
        )
        yield from _tensors(folder, record)
        recipe = Recipe.model_validate(tomllib.loads(record.recipe))
        for key, asked in (("method", recipe.edit.method), ("sites", recipe.collect.sites)):
            if getattr(edit, key) != asked:
                yield f"{RECORD}: edit.{key} is {getattr(edit, key)!r}, but the recipe's {asked!r}"

        if method(recipe.edit.method).ZEROES and None in {tensor.zeroed for tensor in edit.tensors.values()}:
            yield f"{RECORD}: edit.tensors: the method {edit.method!r} only sets to zero, but no zeros are stated"

    note = f"{len(record.edit.tensors)} tensors in {len(record.edit.changed)} files are said to be changed"
    return _caught("edit", look, note)


def _tensors(folder: Path, record: Record) -> Iterator[str]:
    """The tensors that are named lie in the denoiser's changed files, in every copy of the weights, with the size, hash
    and zeros that are stated."""
    edit = record.edit
    every = [name for name in edit.files if name.split("/")[0] in DENOISERS and name.endswith(".safetensors")]
    weights = set(every) & set(edit.changed)
    yield from (
        f"{RECORD}: {name}: changed, and not weights of the denoiser" for name in edit.changed if name not in weights
    )
    for file in every:
        held = read_header(folder / file).keys() & edit.tensors.keys()
        left = sorted(name for name in held if file not in edit.tensors[name].copies)
        yield from (f"{file}: {name}: a copy that is not said to be changed" for name in left)
    for name, tensor in edit.tensors.items():
        yield from (
            f"{RECORD}: {name}: said to be changed in {file}, which is not among the changed weights"
            for file, copy in tensor.copies.items()
            if copy.changed and file not in weights
        )
    planned = _planned(record)
    yield from (f"{RECORD}: {name}: in a file that is not the model's" for name in edit.tensors.keys() - planned.keys())
    yield from altered(folder, planned)


def _planned(record: Record) -> dict[str, ChangedTensor]:
    """The tensors that are named, without those in files that are not the model's."""
    files = record.edit.files
    return {name: tensor for name, tensor in record.edit.tensors.items() if tensor.copies.keys() <= files.keys()}


def _verdict(folder: Path, record: Record) -> Finding:
    """The verdict is that of the recipe's limits on the recorded numbers, and accepts."""
    verdict = record.verdict

    def look() -> Iterator[str]:
        recipe = Recipe.model_validate(tomllib.loads(record.recipe))
        if (folder / RECIPE).read_text(encoding="utf-8") != record.recipe:
            yield f"{folder / RECIPE}: not the recipe of {RECORD}"
        stated = recipe.model_dump(mode="json", by_alias=True)
        for section in ("sampling", "attack", "validate", "verdict"):
            if verdict.settings[section] != stated[section]:
                yield f"{RECORD}: verdict.settings.{section} is not that of the recipe"
        asked = [question(key) for key in verdict.base.sets]
        kinds = {found.kind for found in asked if found.memorized and found.kind} | set(verdict.kinds)
        checks, reasons = decide(verdict.models, verdict.threshold, kinds, recipe.verdict)
        for kept, found in zip(verdict.checks, checks, strict=True):
            if kept.judged != found.judged:
                yield f"{RECORD}: {found.question}: {kept.status}, but its numbers give {found.status}"
        if verdict.accepted is not (not reasons):
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

    def look() -> Iterator[str]:
        for name, digest in record.base.files.items():
            if not (base / name).is_file() or sha256_file(base / name) != digest:
                yield f"{base / name}: missing, or not the base's that was edited"
        shared = record.files.keys() - record.own()
        yield from unplanned(compare_folders(base, folder, only=shared), record.edit.tensors)
        yield from of_another_base(base, _planned(record))

    tensors = len(record.edit.tensors)
    return _caught("base", look, f"nothing differs from {base} but {tensors} planned tensors")
