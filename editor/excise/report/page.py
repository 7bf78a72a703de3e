"""The report's two pages, filled from a run's files."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from excise.edits.edit_record import said
from excise.files.writing import write_text
from excise.prompts.questions import CONCEPTS, JUDGED, questions_of
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.report import concepts, figures, searches, words
from excise.report.picture_rows import Pictures
from excise.report.sheet import run_sheet
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.results import read_edit_record, read_located, read_measures, read_verdict
from excise.verdict.compare import may_be_wrong

PACKAGE = "excise.report"
FILTERS = (
    "percent", "percent_range", "number", "number_range", "quantity", "quantity_range", "seconds", "unbroken",
    "standing", "standing_class", "doubt",
)  # fmt: skip


def write_pages(run: Run, recipe: Recipe, sets: PromptSets) -> None:
    """Write the page for people, the summary in Markdown, and a sheet of pictures."""
    verdict, located, edit = read_verdict(run), read_located(run), read_edit_record(run)
    content: dict[str, Any] = {
        "name": recipe.name,
        "subject": concepts.subject(verdict.concept),
        "verdict": verdict,
        "located": located,
        "edit": edit,
        "edit_says": said(edit.tensors),
        "job": load_record(run),
        "headline": words.headline(verdict),
        "acceptance": words.acceptance(verdict),
        "limits": searches.limits(verdict),
        "fate": searches.fate(verdict),
        "worst": searches.worst(verdict),
        "worst_said": searches.worst_said(verdict),
        "settings": words.settings_rows(recipe.model_dump(mode="json", by_alias=True, exclude={"release"})),
        "questions": words.shown(verdict),
        "identified": words.identified(verdict),
        "counts": {
            "located": sum(map(len, sets.located)),
            "groups": len(sets.located),
            "held_out": len(sets.held_out),
            "judged": len(sets.judged),
        },
    }
    pictures = Pictures(run.images, verdict, read_measures(run))
    page = content | {
        "grids": pictures.memorized_grids(sets),
        "unpictured": pictures.unpictured_grid(),
        "concepts": [pictures.read_grid(asked) for asked in CONCEPTS if asked in questions_of(sets)],
        "ordinary": pictures.read_grid(JUDGED),
        "curves": searches.curves(verdict),
        "searched": searches.grids(pictures, recipe, questions_of(sets)),
        "kept_for_all_that": may_be_wrong(verdict.certificates),
        "bars": figures.replication_bars(verdict),
        "selected_by_site": figures.selected_by_site(located),
        "iou_by_call": figures.iou_by_call(located.iou) if located.iou else None,
        "iou_heat_maps": figures.iou_heat_maps(located) if located.iou else None,
    }
    write_text(run.summary, render("report.md.jinja", content, escape=False))
    write_text(run.report, render("report.html.jinja", page, escape=True))
    run_sheet(run, sets).save(run.pictures, optimize=True)


def render(template: str, content: dict[str, Any], escape: bool, package: str = PACKAGE) -> str:
    """Fill a template.

    Args:
        template: its file, in the package's ``templates``; the report's are found from every package.
        content: values by name; one that is missing is an error.
        escape: for HTML, where captions must not become markup.
        package: whose template it is.
    """
    return _environment(escape, package).get_template(template).render(content)


@cache
def _environment(escape: bool, package: str) -> Environment:
    """Where templates are found, kept so that each is compiled once."""
    loaders = [PackageLoader(name) for name in dict.fromkeys((package, PACKAGE))]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in FILTERS:
        environment.filters[name] = getattr(words, name)
    return environment
