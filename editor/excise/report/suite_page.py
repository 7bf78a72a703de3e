"""The pages of a checkpoint that was attacked: what the attacks brought back, and what cannot be said."""

from __future__ import annotations

from excise.files.writing import write_text
from excise.recipe.suite import Suite
from excise.report import searches, words
from excise.report.page import render
from excise.report.picture_rows import Pictures
from excise.run.layout import Run
from excise.trial.blocks import Asked
from excise.verdict.measured import Measures
from excise.verdict.row import Back, Row


def write_suite_pages(run: Run, suite: Suite, asked: Asked, row: Row, measures: Measures) -> None:
    """Write the page for people and the summary in Markdown."""
    content = {
        "verdict": row,
        "fate": searches.fate(row),
        "limits": searches.limits(row),
        "worst": searches.worst(row),
        "worst_said": searches.worst_said(row),
        "final": final(row),
    }
    sections = {key: value for key, value in row.settings.items() if isinstance(value, dict)}
    page = content | {
        "curves": searches.curves(row),
        "searched": searches.grids(Pictures(run.images, row, measures), suite, asked),
        "kept_for_all_that": row.may_be_wrong,
        "settings": words.settings_rows({"name": row.checkpoint.name, **sections})[1:],
    }
    write_text(run.row_summary, render("attack.md.jinja", content, escape=False))
    write_text(run.row_page, render("attack.html.jinja", page, escape=True))


def final(row: Row) -> list[Back]:
    """What is brought back at the end of each curve."""
    ends: dict[tuple[str, str, str], Back] = {}
    for found in row.brought_back:
        point = row.attacks[found.attack]
        ends[point.attack, point.variant, found.set] = found
    return list(ends.values())
