"""From an accepted run to the release folder: checkpoint, card, provenance, report, licence, signature."""

from __future__ import annotations

import json
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import parse_hf_uri

from editor import __version__
from editor.diffusion.checkpoint import copy_files
from editor.errors import ExciseError
from editor.fingerprint import LIBRARIES, hash_code, hash_path
from editor.hashing import sha256_file
from editor.job import RECIPE, RELEASE
from editor.plan import STAGES
from editor.recipe import Recipe, Release, load_recipe
from editor.record import JobRecord, load_record
from editor.release.card import write_card
from editor.release.licences import Licence, base_card, licence_of
from editor.release.pictures import before_after
from editor.release.record import CARD, CHANGES, EXTRAS, FORMAT, RECORD, SIGNATURE, write_record
from editor.release.signing import sign

NEEDED = ("edited", "edit.json", "subspace.json", "verdict.json", "measures.json", "report.md", "report.html")
BASE_CARD = "base-model-card.md"
REPLACED = (CARD, ".gitattributes")
"""Files of the base that a release has its own of."""


def build_release(run: Path) -> Path:
    """Make the folder ``release`` of a finished run whose verdict accepts the edit; one that was there is replaced.

    Raises:
        ExciseError: the run is not finished, was altered, or its edit is refused; a licence text or key is not there.
    """
    job = load_record(run)
    _refuse_unfinished(run, job)
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
    record = _record(run, job, recipe, verdict, licence)
    _put_files(run, unfinished, recipe.release)
    picture = _put_picture(run, unfinished, recipe.release)
    name = (record["base"]["repo"] or record["base"]["name"]).rpartition("/")[2]
    title = recipe.release.title or f"{name}, memorized images excised"
    write_card(unfinished, title, record, licence, inherited, picture, recipe.release.key is not None)
    (unfinished / CHANGES).write_text(_changes(record), encoding="utf-8")
    record["files"] = {
        name: {"size": (unfinished / name).stat().st_size, "sha256": sha256_file(unfinished / name)}
        for name in files_of(unfinished)
    }
    write_record(unfinished, record)
    if recipe.release.key:
        sign(unfinished, recipe.release.key)
    shutil.rmtree(run / RELEASE, ignore_errors=True)
    os.replace(unfinished, run / RELEASE)
    return run / RELEASE


def files_of(folder: Path) -> list[str]:
    """Names of a release's files but for its record and signature, sorted."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for name in names if name not in (RECORD, SIGNATURE))


def _refuse_unfinished(run: Path, job: JobRecord) -> None:
    """Refuse a run of which a stage is missing, or which does not hold what its stages left."""
    outputs: dict[str, str] = {}
    for stage in STAGES:
        if stage.name not in job.stages:
            raise ExciseError(f"{run}: holds no finished run, {stage.name} is not done; run excise run again")
        outputs |= job.stages[stage.name].outputs
    for name in NEEDED:
        if not (run / name).exists() or hash_path(run / name) != outputs[name]:
            raise ExciseError(f"{run / name}: missing or altered since the run; run excise run again")


def _read(run: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / name).read_text(encoding="utf-8"))
    return found


def _record(run: Path, job: JobRecord, recipe: Recipe, verdict: dict[str, Any], licence: Licence) -> dict[str, Any]:
    """What EXCISE.json holds, but for the release's own files."""
    edit, measures = _read(run, "edit.json"), _read(run, "measures.json")
    memorized = {key: found["prompts"] for key, found in measures["sets"].items() if key.startswith(("loc", "held"))}
    return {
        "format": FORMAT,
        "excise": {"version": job.version, "code": hash_code("editor.job")},
        "libraries": {name: version(name) for name in (*LIBRARIES, "safetensors")}
        | {"python": platform.python_version()},
        "base": _base(recipe, job) | {"files": {name: pair["base"] for name, pair in edit["files"].items()}},
        "licence": {"id": licence.id, "name": licence.name, "link": licence.link, "texts": list(licence.texts)},
        "edit": {
            "operator": edit["operator"],
            "sites": recipe.collect.sites,
            "zeroed": edit["zeroed"],
            "entries": edit["entries"],
            "tensors": edit["tensors"],
            "changed": edit["changed"],
            "files": {name: pair["edited"] for name, pair in edit["files"].items() if name not in REPLACED},
        },
        "prompts": {
            "tables": job.tables,
            "texts": {key: [p["prompt"] for p in found] for key, found in memorized.items()}
            if recipe.release.prompts
            else None,
        },
        "kinds": sorted({prompt["kind"] for found in memorized.values() for prompt in found}),
        "seeds": {
            "prompts.seed": recipe.prompts.seed,
            "collect.seed": recipe.collect.seed,
            "validate.seed": recipe.validate_.seed,
            "validate.seeds": recipe.validate_.seeds,
        },
        "sources": job.sources,
        "recipe": (run / RECIPE).read_text(encoding="utf-8"),
        "publish": recipe.release.model_dump(mode="json", include={"visibility", "gated", "tag"}),
        "verdict": verdict,
    }


def _base(recipe: Recipe, job: JobRecord) -> dict[str, Any]:
    """Name, repository and revision of the base; None for what is not known."""
    source = job.sources.get("model.path", "")
    if source.startswith("hf://") and " " not in source:
        uri = parse_hf_uri(source)
        return {"name": uri.id.rpartition("/")[2], "repo": uri.id, "revision": uri.revision}
    settings = recipe.release
    return {"name": recipe.model.path.resolve().name, "repo": settings.base, "revision": settings.base_revision}


def _put_files(run: Path, target: Path, settings: Release) -> None:
    """The checkpoint without the base's card, licence texts, report and recipe."""
    edited, extras = run / "edited", target / EXTRAS
    names = [path.relative_to(edited).as_posix() for path in sorted(edited.rglob("*")) if path.is_file()]
    copy_files(edited, target, [name for name in names if name not in REPLACED])
    extras.mkdir()
    if CARD in names:
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


def _changes(record: dict[str, Any]) -> str:
    """The notice of modification that licences ask for."""
    base, edit = record["base"], record["edit"]
    origin = f"{base['repo']}, commit {base['revision']}" if base["repo"] else f"the checkpoint “{base['name']}”"
    lines = [
        "# Changes",
        "",
        f"This model is a modified copy of {origin}.",
        f"The files below were changed by excise {__version__}: {edit['zeroed']:,} weights were set to zero, in",
        f"{len(edit['tensors'])} tensors. All other files of the model are unmodified copies; `{CARD}`, `{CHANGES}`,",
        f"`{RECORD}` and the folder `{EXTRAS}` were added. The card of the original, where it had one, is",
        f"`{EXTRAS}/{BASE_CARD}`.",
        "",
        "| changed file | sha256 before | sha256 after |",
        "| --- | --- | --- |",
        *(f"| {name} | {base['files'][name]} | {edit['files'][name]} |" for name in edit["changed"]),
        "",
        "| changed tensor | weights set to zero | of |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {tensor['zeroed']:,} | {tensor['entries']:,} |" for name, tensor in edit["tensors"].items()),
    ]
    return "\n".join(lines) + "\n"
