"""report: an HTML page, a summary in Markdown and a sheet of pictures, from the files of the stages before.

It measures nothing and loads no model: every number is in the run's JSON files.
"""

from __future__ import annotations

from excise.report.page import write_pages
from excise.stages.context import Context


def run(context: Context) -> None:
    """Write all three."""
    write_pages(context.run, context.recipe, context.sets)
