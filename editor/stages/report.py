"""report: one self-contained HTML page and a Markdown summary, written from the files of the stages before.

It measures nothing and loads no model: every number is in verdict.json, subspace.json, edit.json, job.json or
measures.json.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from editor.prompts import PromptSets
from editor.recipe import Recipe
from editor.report import figures, pictures, words

OUTPUT = "report.html"
SUMMARY = "report.md"


def run(recipe: Recipe, sets: PromptSets, folder: Path) -> None:
    """Write `report.html` and `report.md` into the run's folder."""
    files = ("verdict.json", "subspace.json", "edit.json", "job.json", "measures.json")
    verdict, subspace, edit, job, measures = (json.loads((folder / name).read_text("utf-8")) for name in files)
    content: dict[str, Any] = {
        "name": recipe.name,
        "verdict": verdict,
        "subspace": subspace,
        "edit": edit,
        "job": job,
        "headline": words.headline(verdict),
        "limits": words.LIMITS,
        "settings": words.settings_rows(recipe.model_dump(mode="json", by_alias=True, exclude={"release"})),
        "sets": {key: label for key, label in words.SETS.items() if key in verdict["arms"]["base"]["sets"]},
        "counts": {
            "located": sum(map(len, sets.located)),
            "groups": len(sets.located),
            "held_out": len(sets.held_out),
            "judged": len(sets.judged),
        },
    }
    page = content | {
        "grids": pictures.memorized_grids(folder, verdict, measures, sets),
        "ordinary": pictures.ordinary_grid(folder, verdict, measures),
        "bars": figures.replication_bars(verdict),
        "iou_by_call": figures.iou_by_call(subspace),
        "iou_heat_maps": figures.iou_heat_maps(subspace),
        "zeroed_by_site": figures.zeroed_by_site(subspace),
    }
    _write(folder / SUMMARY, _render("report.md.jinja", content, escape=False))
    _write(folder / OUTPUT, _render("report.html.jinja", page, escape=True))


def _render(template: str, content: dict[str, Any], escape: bool) -> str:
    """Fill a template; ``escape`` for HTML, where captions must not become markup."""
    environment = Environment(
        loader=PackageLoader("editor.report"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in ("percent", "percent_range", "number", "number_range", "seconds", "unbroken"):
        environment.filters[name] = getattr(words, name)
    return environment.get_template(template).render(content)


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
