"""From an accepted run to the release folder: checkpoint, card, provenance, report, licence, signature."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import parse_hf_uri

from excise.checkpoint.copying import copy_files
from excise.checkpoint.folder import checkpoint_files
from excise.edits.edit_record import EditRecord, said
from excise.errors import ExciseError
from excise.files.hashing import hash_json, hash_path, sha256_file
from excise.files.writing import put_folder, remove, unfinished_folder
from excise.prompts.questions import question
from excise.recipe import Recipe, Release, load_recipe
from excise.release.before_after import before_after
from excise.release.card import write_card
from excise.release.licences import Licence, base_card, licence_of
from excise.release.provenance import (
    CARD,
    CHANGES,
    EXTRAS,
    RECIPE,
    RECORD,
    SIGNATURE,
    Base,
    Edited,
    File,
    Program,
    Prompts,
    Publishing,
    Record,
    write_record,
)
from excise.release.signing import sign
from excise.run.job_record import Finished, JobRecord, load_record
from excise.run.layout import Run
from excise.run.lock import locked
from excise.run.results import read_edit_record, read_measures, read_verdict
from excise.verdict.models import Verdict
from excise.version import __version__

BASE_CARD = f"{EXTRAS}/base-model-card.md"
SUMMARY, REPORT = f"{EXTRAS}/report.md", f"{EXTRAS}/report.html"
PICTURE = f"{EXTRAS}/before-after.png"


def build_release(run: Run) -> Path:
    """Make the release folder of a finished run whose verdict accepts the edit; one that was there is replaced.

    Raises:
        ExciseError: the run is not finished, was altered, or its edit is refused; a licence text or key is not there;
            a job or another release is at work on the folder.
    """
    with locked(run):
        return _build(run)


def _build(run: Run) -> Path:
    job = load_record(run)
    finished = _finished(run, job)
    verdict = read_verdict(run)
    if not verdict.accepted:
        remove(run.release)
        raise ExciseError(
            f"{run.folder}: the verdict refuses this edit, and what is refused is not released:\n"
            + "\n".join(f"  - {reason}" for reason in verdict.reasons)
        )
    recipe = load_recipe(run.recipe)
    licence, inherited = licence_of(run.edited, recipe.release), base_card(run.edited)
    unfinished = unfinished_folder(run.release)
    names = checkpoint_files(run.edited)
    if taken := sorted({name.split("/")[0] for name in names} & {EXTRAS, CHANGES, RECORD, SIGNATURE}):
        raise ExciseError(f"{run.edited}: {taken[0]} is a name that a release needs; is the base a release itself?")
    _copy_files(run, unfinished, names, recipe.release)
    picture = _draw_picture(run, unfinished, recipe.release)
    record = _record(run, job, finished, recipe, verdict, licence, names)
    title = recipe.release.title or f"{_short(record.base)}, memorized images excised"
    write_card(unfinished, title, record, inherited, picture)
    (unfinished / CHANGES).write_text(_changes(record), encoding="utf-8")
    there = {name: unfinished / name for name in files_of(unfinished)}
    listed = {name: File(size=path.stat().st_size, sha256=sha256_file(path)) for name, path in there.items()}
    write_record(unfinished, record.model_copy(update={"files": listed}))
    if recipe.release.key:
        sign(unfinished, recipe.release.key)
    put_folder(unfinished, run.release)
    return run.release


def published_paths(run: Run) -> list[str]:
    """Keys of a run's recipe whose paths say where things lie on this machine: a release holds the recipe as it is."""
    whole = load_recipe(run.recipe).model_dump(mode="json", by_alias=True)
    sections = {key: value for key, value in whole.items() if isinstance(value, dict)}
    found = [(f"{section}.{key}", value) for section, values in sections.items() for key, value in values.items()]
    return [key for key, value in found if any(str(item).startswith("/") for item in _listed(value))]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def files_of(folder: Path) -> list[str]:
    """Names of a release's files but for its record and signature, sorted."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for name in names if name not in (RECORD, SIGNATURE))


def _finished(run: Run, job: JobRecord) -> Finished:
    """Refuse a run that did not come to its end, or which does not hold what its stages left."""
    if job.finished is None:
        done = ", ".join(job.stages) or "nothing"
        raise ExciseError(f"{run.folder}: holds no finished run ({done} is done); run excise run again")
    outputs = {name: value for stage in job.stages.values() for name, value in stage.outputs.items()}
    needed = (run.edited, run.edit_record, run.evidence, run.verdict, run.measures, run.summary, run.report)
    for path in needed:
        if not path.exists() or hash_path(path) != outputs.get(path.name):
            raise ExciseError(f"{path}: missing or altered since the run; run excise run again")
    return job.finished


def _record(
    run: Run,
    job: JobRecord,
    finished: Finished,
    recipe: Recipe,
    verdict: Verdict,
    licence: Licence,
    names: tuple[str, ...],
) -> Record:
    """What EXCISE.json holds, but for the release's own files."""
    edit = read_edit_record(run)
    asked = read_measures(run).sets
    texts = {
        key: [prompt.prompt for prompt in found.prompts] for key, found in asked.items() if question(key).memorized
    }
    kept = {name: pair for name, pair in edit.files.items() if name in names}
    return Record(
        excise=Program(version=job.version, code=hash_json({n: s.fingerprint["code"] for n, s in job.stages.items()})),
        libraries=finished.libraries | {"python": platform.python_version()},
        base=_base(recipe, finished, {name: pair.base for name, pair in kept.items()}),
        licence=licence,
        edit=_edited(edit, {name: pair.edited for name, pair in kept.items()}),
        prompts=Prompts(tables=finished.tables, texts=texts if recipe.release.prompts else None),
        seeds={
            "prompts.seed": recipe.prompts.seed,
            "collect.seed": recipe.collect.seed,
            "validate.seed": recipe.validate_.seed,
            "validate.seeds": recipe.validate_.seeds,
        },
        sources=finished.sources,
        recipe=run.recipe.read_text(encoding="utf-8"),
        publish=Publishing.model_validate(recipe.release.model_dump(include=set(Publishing.model_fields))),
        signed=recipe.release.key is not None,
        verdict=verdict,
        files={},
    )


def _edited(edit: EditRecord, files: dict[str, str]) -> Edited:
    return Edited(
        method=edit.method,
        sites=edit.sites,
        tensors=edit.tensors,
        changed=[name for name in edit.changed if name in files],
        files=files,
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


def _copy_files(run: Run, target: Path, names: tuple[str, ...], settings: Release) -> None:
    """The checkpoint, licence texts, report, recipe and the base's own card."""
    copy_files(run.edited, target, names)
    (target / EXTRAS).mkdir()
    if (run.edited / CARD).is_file():
        shutil.copyfile(run.edited / CARD, target / BASE_CARD)
    for file in settings.license_files:
        shutil.copyfile(file, target / file.name)
    shutil.copyfile(run.summary, target / SUMMARY)
    if settings.prompts and settings.pictures == "all":  # it shows both
        shutil.copyfile(run.report, target / REPORT)
    shutil.copyfile(run.recipe, target / RECIPE)


def _draw_picture(run: Run, target: Path, settings: Release) -> tuple[str, str] | None:
    if settings.pictures == "none":
        return None
    image, says = before_after(run, memorized=settings.pictures == "all")
    image.save(target / PICTURE, optimize=True)
    return PICTURE, says


def _changes(record: Record) -> str:
    """The notice of modification that licences ask for."""
    base, edit = record.base, record.edit
    origin = f"{base.repo or f'the checkpoint “{base.name}”'}" + (f", commit {base.revision}" if base.revision else "")
    lines = [
        "# Changes",
        "",
        f"This model is a modified copy of {origin}.",
        f"The files below were changed by excise {__version__}: it has {said(edit.tensors)}, in",
        f"{len(edit.tensors)} tensors. All other files of the model are unmodified copies; `{CARD}`, `{CHANGES}`,",
        f"`{RECORD}` and the folder `{EXTRAS}` were added. The card of the original, where it had one, is",
        f"`{BASE_CARD}`.",
        "",
        "| changed file | sha256 before | sha256 after |",
        "| --- | --- | --- |",
        *(f"| {name} | {base.files[name]} | {edit.files[name]} |" for name in edit.changed),
        "",
        "| changed tensor | file | entries changed | of | sha256 after |",
        "| --- | --- | ---: | ---: | --- |",
        *(
            f"| {name} | {file} | {copy.changed:,} | {tensor.entries:,} | {copy.after} |"
            for name, tensor in edit.tensors.items()
            for file, copy in tensor.copies.items()
        ),
    ]
    return "\n".join(lines) + "\n"
