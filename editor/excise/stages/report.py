"""report: one self-contained HTML page and a Markdown summary, written from the files of the stages before.

It measures nothing and loads no model: every number is in the run's JSON files.
"""

from __future__ import annotations

from excise.report.page import write_pages
from excise.stages.context import Context


def run(context: Context) -> None:
    """Write both."""
    write_pages(context.run, context.recipe, context.sets)
