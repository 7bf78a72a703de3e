"""The end of a job in the terminal: a table of measures by models, the verdict, the paths. All of it from the files."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from excise.errors import ExciseError
from excise.prompts.questions import CONCEPTS
from excise.prompts.questions import question as named
from excise.report import searches, words
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.results import read_verdict
from excise.verdict.models import Agreement, Check, Estimate, ModelResult, Verdict

STYLES = {"passed": "green", "doubtful": "yellow", "failed": "bold red", "missing": "bold red", "none": "dim"}
LABEL, CELL = 14, 14
"""Width of the column of labels and of a model's column at their narrowest: no word and no interval is broken."""


def show_run(run: Run, console: Console) -> bool:
    """Print what a finished run found; returns whether the verdict accepts the edit.

    Raises:
        ExciseError: no verdict is there, or the run has begun again and not come to one since.
    """
    verdict = read_finished(run)
    for table in models_tables(verdict, console.width):
        console.print(table)
    if verdict.comparisons:
        console.print(searches_table(verdict))
    console.print(checks_table(verdict.checks))
    if verdict.accepted:
        console.print(Text(f"VERDICT: accepted, {words.acceptance(verdict)}", style="bold green"))
    else:
        console.print(Text("VERDICT: refused, this edit is not fit for release", style="bold red"))
    console.print(Text(f"  {searches.fate(verdict)}"), soft_wrap=True)
    for reason in verdict.reasons:
        console.print(Text(f"  - {reason}"), soft_wrap=True)
    edited = "edited model" if verdict.accepted else "edited model (refused)"
    for label, path in (
        ("report", run.report),
        ("summary", run.summary),
        ("verdict", run.verdict),
        ("image by image", run.certificate),
        ("log", run.log),
        (edited, run.edited),
    ):
        if path.exists():
            console.print(Text(f"  {label:24}{path}"), soft_wrap=True)
    return verdict.accepted


def read_finished(run: Run) -> Verdict:
    """The verdict of a run.

    Raises:
        ExciseError: no verdict is there, or the run has begun again and not come to one since.
    """
    if "validate" not in load_record(run).stages or not run.verdict.is_file():
        raise ExciseError(f"{run.folder}: holds no finished validation; excise run ends with one (see --out)")
    return read_verdict(run)


def as_text(run: Run) -> str:
    """What `show_run` prints, for a log."""
    text = io.StringIO()
    show_run(run, Console(file=text, width=120))
    return text.getvalue()


def models_tables(verdict: Verdict, width: int) -> list[Table]:
    """The table of models, in as many parts as a terminal of ``width`` characters takes with every number whole."""
    names, fitting = list(verdict.models), max(1, (width - LABEL) // CELL)
    return [models_table(verdict, names[start : start + fitting]) for start in range(0, len(names), fitting)]


def models_table(verdict: Verdict, names: list[str]) -> Table:
    """A row per measure, a column per model; each value with its 95 % interval."""
    table = Table(
        title="Base, edited model and controls, with 95 % intervals",
        caption="MR: memorization rate, % of images that replicate their training image; nearest own: % of images "
        "whose own training image is the nearest of the set",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    table.add_column()
    models = [verdict.models[name] for name in names]
    for name, model in zip(names, models, strict=True):
        table.add_column(model.label, justify="right", style="bold" if name == "edited" else "")
    for question in words.shown(verdict):
        table.add_row(f"MR {question.label}", *(_rate(model, question.key) for model in models))
    for question in words.identified(verdict):
        found = [model.sets.get(question.key) for model in models]
        nearest = [one.identification if one else None for one in found]
        table.add_row(f"nearest own, {question.label}", *(_cell(rate, 100, 1) for rate in nearest))
    for question in (question for question in CONCEPTS if question.key in verdict.base.concept):
        table.add_row(f"{question.label} shown, %", *(_agreement(model.concept.get(question.key)) for model in models))
        for key, sets in verdict.base.concept_searched.items():
            if question.key in sets:
                drawn = [model.concept_searched.get(key, {}).get(question.key) for model in models]
                table.add_row(f"{question.label}, {key}, %", *(_agreement(one) for one in drawn))
    table.add_row("caption agreement, %", *(_agreement(model.agreement) for model in models))
    table.add_row("drift from base", *(_cell(model.drift, 1, 2) for model in models))
    if verdict.base.neighbours:
        beside = [model.neighbours for model in models]
        table.add_row("neighbours: agreement, %", *(_agreement(one.agreement if one else None) for one in beside))
        table.add_row("neighbours: drift", *(_cell(one.drift if one else None, 1, 2) for one in beside))
    counts = [model.weights_changed for model in models]
    table.add_row("weights changed", *("–" if count is None else f"{count:,}" for count in counts))
    return table


def _rate(model: ModelResult, key: str) -> str:
    return _cell(model.sets[key].rate if key in model.sets else None, 100, 1)


def _agreement(found: Agreement | None) -> str:
    return _cell(Estimate(value=found.rate, interval=found.interval) if found else None, 100, 1)


def _cell(measured: Estimate | None, scale: float, digits: int) -> str:
    """Value and interval; the interval of a percentage in whole per cent."""
    if measured is None:
        return "–"
    if measured.interval is None:
        return f"{scale * measured.value:.{digits}f}"
    low, high = measured.interval
    places = 0 if scale == 100 else digits
    return f"{scale * measured.value:.{digits}f} [{scale * low:.{places}f}–{scale * high:.{places}f}]"


def searches_table(verdict: Verdict) -> Table:
    """What each search brought back at its end, a row per search and set."""
    kinds = sorted({found.against.replace("_", " ") for found in verdict.comparisons}, reverse=True)
    table = Table(title="Brought back by search, % of images", box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("search", "images"):
        table.add_column(heading)
    for heading in ("base", "edited", " or ".join(kinds), "p", "q"):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in searches.final(verdict):
        rates = (_cell(one, 100, 1) for one in (found.base, found.edited, found.control))
        name = named(found.set).label
        table.add_row(found.attack, f"{found.images} {name}", *rates, f"{found.p:.2g}", f"{found.q:.2g}")
    return table


def checks_table(checks: tuple[Check, ...]) -> Table:
    """What the recipe requires, a row per check."""
    table = Table(title="What the recipe requires", box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading, number in (("check", False), ("value", True), ("limit", True), ("status", False)):
        table.add_column(heading, justify="right" if number else "left", no_wrap=number)
    for check in checks:
        limit = "–" if check.limit is None else f"{check.relation} {words.quantity(check, check.limit)}"
        status = Text(words.standing(check), style=STYLES[words.standing_class(check)])
        table.add_row(check.question, words.quantity(check, check.value), limit, status)
    table.caption = words.doubt(checks) or None
    return table
