"""``excise verify``: does a release folder hold what its record says, and does the verdict follow from its numbers?

Nothing is loaded, no code of the folder runs, and memory does not grow with the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editor.differences import unplanned
from editor.diffusion.compare import compare_folders
from editor.diffusion.load import check_folder
from editor.diffusion.tensorfile import read_header
from editor.errors import ExciseError
from editor.hashing import sha256_file
from editor.measures.verdict import decide
from editor.recipe import Verdict
from editor.release.record import RECORD, SIGNATURE, read_record
from editor.release.signing import IGNORED, check_signature

JUDGED = ("name", "arm", "set", "value", "relation", "limit", "status")
"""What of a check must come out the same; the rest is wording."""


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
        ExciseError: there is no release, or a key or base that cannot be used.
    """
    if not folder.is_dir():
        raise ExciseError(f"{folder}: no such folder; give the folder of a release")
    if base is not None and not base.is_dir():
        raise ExciseError(f"{base}: no such folder; give the folder of the base")
    try:
        record = read_record(folder)
    except ExciseError as error:
        return (Finding("record", (str(error),)),)
    findings = [Finding("record", note=f"{RECORD} is as it was written, by excise {record['excise']['version']}")]
    findings += [_files(folder, record), _safe(folder), _tensors(folder, record), _verdict(record)]
    findings.append(_signature(folder, public_key))
    findings.append(_against(base, folder, record))
    return tuple(findings)


def _caught(what: str, look: Callable[[], Iterator[str]], note: str) -> Finding:
    """A finding whose faults ``look`` names; an error of ours is one too."""
    faults: list[str] = []
    try:
        faults.extend(look())
    except ExciseError as error:
        faults.append(str(error))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        faults.append(f"{RECORD}: not what excise writes: {type(error).__name__} {error}")
    return Finding(what, tuple(faults), "" if faults else note)


def _files(folder: Path, record: dict[str, Any]) -> Finding:
    def look() -> Iterator[str]:
        listed: dict[str, Any] = record["files"]
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
        there -= {RECORD, SIGNATURE}
        there = {name for name in there if name.split("/")[0] not in IGNORED}
        yield from (f"{folder / name}: missing" for name in sorted(listed.keys() - there))
        yield from (f"{folder / name}: not listed in {RECORD}" for name in sorted(there - listed.keys()))
        names = sorted(listed.keys() & there, key=lambda name: -listed[name]["size"])
        sizes = {name: (folder / name).stat().st_size for name in names}
        yield from (
            f"{folder / name}: {sizes[name]} bytes, not {listed[name]['size']}"
            for name in names
            if sizes[name] != listed[name]["size"]
        )
        with ThreadPoolExecutor(4) as pool:
            hashes = dict(zip(names, pool.map(lambda name: sha256_file(folder / name), names), strict=True))
        yield from (f"{folder / name}: altered" for name in names if hashes[name] != listed[name]["sha256"])
        model = record["edit"]["files"]
        yield from (
            f"{RECORD}: {name}: listed with another hash than the edit left"
            for name in names
            if name in model and listed[name]["sha256"] != model[name]
        )

    return _caught("files", look, f"{len(record.get('files', ()))} files, each with the sha256 that is recorded")


def _safe(folder: Path) -> Finding:
    def look() -> Iterator[str]:
        check_folder(folder)
        yield from ()

    return _caught("safety", look, "safetensors only: no pickle, no code, no link to elsewhere")


def _tensors(folder: Path, record: dict[str, Any]) -> Finding:
    """What the edit says it changed must be what the files' hashes say changed, and hold the tensors it names."""

    def look() -> Iterator[str]:
        edit, before = record["edit"], record["base"]["files"]
        changed = sorted(name for name, after in edit["files"].items() if before.get(name) != after)
        if changed != sorted(edit["changed"]):
            yield f"{RECORD}: edit.changed names {edit['changed']}, but the hashes of {changed} differ from the base's"
        held = {name for file in changed if file.endswith(".safetensors") for name in read_header(folder / file)}
        yield from (f"{RECORD}: no changed file holds the tensor {name}" for name in edit["tensors"].keys() - held)
        if sum(tensor["zeroed"] for tensor in edit["tensors"].values()) != edit["zeroed"]:
            yield f"{RECORD}: edit.zeroed is not the sum of its tensors'"

    edit = record.get("edit", {})
    note = f"{len(edit.get('tensors', ()))} tensors in {len(edit.get('changed', ()))} files are said to be changed"
    return _caught("edit", look, note)


def _verdict(record: dict[str, Any]) -> Finding:
    def look() -> Iterator[str]:
        verdict = record["verdict"]
        limits = Verdict.model_validate(
            {key: "unchecked" if value is None else value for key, value in verdict["settings"]["verdict"].items()}
        )
        checks, reasons = decide(verdict["arms"], verdict["threshold"], record["kinds"], limits)
        for kept, found in zip(verdict["checks"], checks, strict=True):
            if any(kept[key] != found[key] for key in JUDGED):
                yield f"{RECORD}: {found['question']}: {kept['status']}, but its numbers give {found['status']}"
        if verdict["accepted"] != (not reasons):
            yield f"{RECORD}: verdict: accepted is {verdict['accepted']}, but its numbers give {not reasons}"
        yield from (f"the verdict refuses this edit: {reason}" for reason in reasons)

    waived = [c["name"] for c in record.get("verdict", {}).get("checks", ()) if c.get("status") == "not required"]
    note = "accepted, as its numbers have it" + (f"; waived: {', '.join(waived)}" if waived else "")
    return _caught("verdict", look, note)


def _signature(folder: Path, public_key: Path | None) -> Finding:
    signed = (folder / SIGNATURE).is_file()
    if public_key is None:
        note = f"{SIGNATURE} was not checked: give --public-key" if signed else "the release is not signed"
        return Finding("signature", note=note, skipped=True)
    fault = check_signature(folder, public_key)
    return Finding("signature", (fault,) if fault else (), "" if fault else f"every file, with {public_key}")


def _against(base: Path | None, folder: Path, record: dict[str, Any]) -> Finding:
    if base is None:
        return Finding("base", note="not compared: give --base", skipped=True)

    def look() -> Iterator[str]:
        edit, files = record["edit"], record["base"]["files"]
        for name, digest in files.items():
            if not (base / name).is_file() or sha256_file(base / name) != digest:
                yield f"{base / name}: missing, or not the base's that was edited"
        planned = {name: int(tensor["zeroed"]) for name, tensor in edit["tensors"].items()}
        yield from unplanned(compare_folders(base, folder, only=edit["files"]), planned)

    tensors = len(record.get("edit", {}).get("tensors", ()))
    return _caught("base", look, f"nothing differs from {base} but {tensors} planned tensors")
