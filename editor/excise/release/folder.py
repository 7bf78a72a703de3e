"""From an accepted run to the release folder: checkpoint, card, provenance, report, licence, signature."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

from excise.checkpoint.copying import copy_files
from excise.edits.edit_record import EditRecord
from excise.errors import ExciseError
from excise.files.hashing import hash_json, hash_path, sha256_file
from excise.files.writing import put_folder, remove, unfinished_folder
from excise.prompts.questions import question
from excise.recipe import Recipe, Release, load_recipe
from excise.release.before_after import before_after
from excise.release.carried import card_data, carried_card, carried_files, licence_texts
from excise.release.licences import Licence, check_given, licence_of
from excise.release.names import BASE_CARD, CARD, CHANGES, EXTRAS, PICTURE, RECIPE, RECORD, REPORT, SIGNATURE
from excise.release.pages import own_files, pages
from excise.release.provenance import Edited, File, Program, Prompts, Publishing, Record, base_of, write_record
from excise.release.signing import sign
from excise.release.verify import look_inside
from excise.run.job_record import Finished, JobRecord, load_record
from excise.run.layout import Run
from excise.run.lock import locked
from excise.run.results import read_edit_record, read_measures, read_verdict
from excise.verdict.models import Verdict

NOT_YET = File(size=0, sha256="0" * 64)
"""Of a file that is written from the others' names."""


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
    check_given(run.edited, recipe.release)
    licence = licence_of(card_data(carried_card(run.edited)), licence_texts(run.edited), recipe.release)
    unfinished = unfinished_folder(run.release)
    names = carried_files(run.edited)
    if (run.edited / EXTRAS).exists() or (run.edited / RECORD).exists():
        raise ExciseError(f"{run.edited}: {EXTRAS} and {RECORD} are names of a release; is the base a release itself?")
    _copy_files(run, unfinished, names, recipe.release)
    record = _record(run, job, finished, recipe, verdict, licence, names)
    files = {name: _file(unfinished / name) for name in files_of(unfinished)}
    record = record.model_copy(update={"files": files | dict.fromkeys((CARD, CHANGES), NOT_YET)})
    for name, text in pages(unfinished, record, recipe).items():
        (unfinished / name).write_text(text, encoding="utf-8")
        files[name] = _file(unfinished / name)
    record = record.model_copy(update={"files": dict(sorted(files.items()))})
    write_record(unfinished, record)
    if recipe.release.key:
        sign(unfinished, recipe.release.key)
    faults = [fault for finding in look_inside(unfinished, record) for fault in finding.faults]
    if faults:
        raise ExciseError(f"{run.folder}: not released, for `verify` would refuse it:\n  - " + "\n  - ".join(faults))
    put_folder(unfinished, run.release)
    return run.release


def _file(path: Path) -> File:
    return File(size=path.stat().st_size, sha256=sha256_file(path))


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
        base=base_of(recipe, finished.sources, {name: pair.base for name, pair in kept.items()}),
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


def _copy_files(run: Run, target: Path, names: tuple[str, ...], settings: Release) -> None:
    """The checkpoint, licence texts, report, picture, recipe and the base's own card."""
    copy_files(run.edited, target, names)
    (target / EXTRAS).mkdir()
    if card := carried_card(run.edited):
        shutil.copyfile(card, target / BASE_CARD)
    for file in settings.license_files:
        shutil.copyfile(file, target / file.name)
    own = own_files(settings)
    if REPORT in own:
        shutil.copyfile(run.report, target / REPORT)
    if PICTURE in own:
        before_after(run, memorized=settings.pictures == "all").save(target / PICTURE, optimize=True)
    shutil.copyfile(run.recipe, target / RECIPE)
