"""From an accepted run to the release folder: checkpoint, card, provenance, report, licence, signature."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import parse_hf_uri

from editor import __version__
from editor.diffusion.checkpoint import copy_files
from editor.diffusion.load import checkpoint_files
from editor.errors import ExciseError
from editor.fingerprint import hash_json, hash_path
from editor.hashing import sha256_file
from editor.job import RECIPE, RELEASE, locked
from editor.plan import STAGES
from editor.recipe import Recipe, Release, load_recipe
from editor.record import Finished, JobRecord, load_record
from editor.release.card import write_card
from editor.release.licences import Licence, base_card, licence_of
from editor.release.pictures import before_after
from editor.release.record import (
    CARD,
    CHANGES,
    EXTRAS,
    RECORD,
    SIGNATURE,
    Base,
    Edited,
    File,
    Program,
    Prompts,
    Publishing,
    Record,
    Zeroed,
    write_record,
)
from editor.release.signing import sign

NEEDED = ("edited", "edit.json", "subspace.json", "verdict.json", "measures.json", "report.md", "report.html")
BASE_CARD = "base-model-card.md"


def build_release(run: Path) -> Path:
    """Make the folder ``release`` of a finished run whose verdict accepts the edit; one that was there is replaced.

    Raises:
        ExciseError: the run is not finished, was altered, or its edit is refused; a licence text or key is not there;
            a job or another release is at work on the folder.
    """
    with locked(run):
        return _build(run)


def _build(run: Path) -> Path:
    job = load_record(run)
    finished = _finished(run, job)
    verdict = _read(run, "verdict.json")
    if not verdict["accepted"]:
        shutil.rmtree(run / RELEASE, ignore_errors=True)
        raise ExciseError(
            f"{run}: the verdict refuses this edit, and what is refused is not released:\n"
            + "\n".join(f"  - {reason}" for reason in verdict["reasons"])
        )
    recipe = load_recipe(run / RECIPE)
    edited, unfinished = run / "edited", run / f".{RELEASE}.unfinished"
    licence, inherited = licence_of(edited, recipe.release), base_card(edited)
    shutil.rmtree(unfinished, ignore_errors=True)
    names = checkpoint_files(edited)
    if taken := sorted({name.split("/")[0] for name in names} & {EXTRAS, CHANGES, RECORD, SIGNATURE}):
        raise ExciseError(f"{edited}: {taken[0]} is a name that a release needs; is the base a release itself?")
    _put_files(run, unfinished, names, recipe.release)
    picture = _put_picture(run, unfinished, recipe.release)
    record = _record(run, job, finished, recipe, verdict, licence, names)
    title = recipe.release.title or f"{_short(record.base)}, memorized images excised"
    write_card(unfinished, title, record, inherited, picture)
    (unfinished / CHANGES).write_text(_changes(record), encoding="utf-8")
    there = {name: unfinished / name for name in files_of(unfinished)}
    listed = {name: File(size=path.stat().st_size, sha256=sha256_file(path)) for name, path in there.items()}
    write_record(unfinished, record.model_copy(update={"files": listed}))
    if recipe.release.key:
        sign(unfinished, recipe.release.key)
    shutil.rmtree(run / RELEASE, ignore_errors=True)
    os.replace(unfinished, run / RELEASE)
    return run / RELEASE


def told_paths(run: Path) -> list[str]:
    """Keys of a run's recipe whose paths say where things lie on this machine: a release holds the recipe as it is."""
    whole = load_recipe(run / RECIPE).model_dump(mode="json", by_alias=True)
    sections = {key: value for key, value in whole.items() if isinstance(value, dict)}
    found = [(f"{section}.{key}", value) for section, values in sections.items() for key, value in values.items()]
    return [key for key, value in found if any(str(item).startswith("/") for item in _listed(value))]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def files_of(folder: Path) -> list[str]:
    """Names of a release's files but for its record and signature, sorted."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for name in names if name not in (RECORD, SIGNATURE))


def _finished(run: Path, job: JobRecord) -> Finished:
    """Refuse a run of which a stage is missing, or which does not hold what its stages left."""
    outputs: dict[str, str] = {}
    for stage in STAGES:
        if stage.name not in job.stages or job.finished is None:
            raise ExciseError(f"{run}: holds no finished run, {stage.name} is not done; run excise run again")
        outputs |= job.stages[stage.name].outputs
    for name in NEEDED:
        if not (run / name).exists() or hash_path(run / name) != outputs[name]:
            raise ExciseError(f"{run / name}: missing or altered since the run; run excise run again")
    assert job.finished is not None
    return job.finished


def _read(run: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / name).read_text(encoding="utf-8"))
    return found


def _record(
    run: Path,
    job: JobRecord,
    finished: Finished,
    recipe: Recipe,
    verdict: dict[str, Any],
    licence: Licence,
    names: tuple[str, ...],
) -> Record:
    """What EXCISE.json holds, but for the release's own files."""
    edit, measures = _read(run, "edit.json"), _read(run, "measures.json")
    memorized = {key: found["prompts"] for key, found in measures["sets"].items() if key.startswith(("loc", "held"))}
    texts = {key: [prompt["prompt"] for prompt in found] for key, found in memorized.items()}
    kept = {name: pair for name, pair in edit["files"].items() if name in names}
    return Record(
        format=1,
        excise=Program(version=job.version, code=hash_json({n: s.fingerprint["code"] for n, s in job.stages.items()})),
        libraries=finished.libraries | {"python": platform.python_version()},
        base=_base(recipe, finished, {name: pair["base"] for name, pair in kept.items()}),
        licence=licence,
        edit=Edited(
            operator=edit["operator"],
            sites=recipe.collect.sites,
            zeroed=edit["zeroed"],
            entries=edit["entries"],
            tensors={name: Zeroed(**counts) for name, counts in edit["tensors"].items()},
            changed=[name for name in edit["changed"] if name in kept],
            files={name: pair["edited"] for name, pair in kept.items()},
        ),
        prompts=Prompts(tables=finished.tables, texts=texts if recipe.release.prompts else None),
        seeds={
            "prompts.seed": recipe.prompts.seed,
            "collect.seed": recipe.collect.seed,
            "validate.seed": recipe.validate_.seed,
            "validate.seeds": recipe.validate_.seeds,
        },
        sources=finished.sources,
        recipe=(run / RECIPE).read_text(encoding="utf-8"),
        publish=Publishing.model_validate(recipe.release.model_dump(include=set(Publishing.model_fields))),
        signed=recipe.release.key is not None,
        verdict=verdict,
        files={},
    )


def _base(recipe: Recipe, finished: Finished, files: dict[str, str]) -> Base:
    source = finished.sources.get("model.path", "")
    if source.startswith("hf://") and " " not in source:
        uri = parse_hf_uri(source)
        return Base(name=uri.id.rpartition("/")[2], repo=uri.id, revision=uri.revision, files=files)
    settings = recipe.release
    name = recipe.model.path.resolve().name
    return Base(name=name, repo=settings.base, revision=settings.base_revision, files=files)


def _short(base: Base) -> str:
    return (base.repo or base.name).rpartition("/")[2]


def _put_files(run: Path, target: Path, names: tuple[str, ...], settings: Release) -> None:
    """The checkpoint, licence texts, report, recipe and the base's own card."""
    edited, extras = run / "edited", target / EXTRAS
    copy_files(edited, target, names)
    extras.mkdir()
    if (edited / CARD).is_file():
        shutil.copyfile(edited / CARD, extras / BASE_CARD)
    for file in settings.license_files:
        shutil.copyfile(file, target / file.name)
    shutil.copyfile(run / "report.md", extras / "report.md")
    if settings.prompts and settings.pictures == "all":  # it shows both
        shutil.copyfile(run / "report.html", extras / "report.html")
    shutil.copyfile(run / RECIPE, extras / RECIPE)


def _put_picture(run: Path, target: Path, settings: Release) -> tuple[str, str] | None:
    if settings.pictures == "none":
        return None
    image, says = before_after(run, memorized=settings.pictures == "all")
    name = f"{EXTRAS}/before-after.png"
    image.save(target / name, optimize=True)
    return name, says


def _changes(record: Record) -> str:
    """The notice of modification that licences ask for."""
    base, edit = record.base, record.edit
    origin = f"{base.repo or f'the checkpoint “{base.name}”'}" + (f", commit {base.revision}" if base.revision else "")
    lines = [
        "# Changes",
        "",
        f"This model is a modified copy of {origin}.",
        f"The files below were changed by excise {__version__}: {edit.zeroed:,} weights were set to zero, in",
        f"{len(edit.tensors)} tensors. All other files of the model are unmodified copies; `{CARD}`, `{CHANGES}`,",
        f"`{RECORD}` and the folder `{EXTRAS}` were added. The card of the original, where it had one, is",
        f"`{EXTRAS}/{BASE_CARD}`.",
        "",
        "| changed file | sha256 before | sha256 after |",
        "| --- | --- | --- |",
        *(f"| {name} | {base.files[name]} | {edit.files[name]} |" for name in edit.changed),
        "",
        "| changed tensor | weights set to zero | of |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {tensor.zeroed:,} | {tensor.entries:,} |" for name, tensor in edit.tensors.items()),
    ]
    return "\n".join(lines) + "\n"
