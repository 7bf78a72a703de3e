"""The end of a job in the terminal: a table of measures by arms, the verdict, the paths. All of it from the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from editor.errors import ExciseError
from editor.record import load_record

SETS = {
    "held_out_verbatim": "MR held-out verbatim",
    "located_verbatim": "MR located verbatim",
    "held_out_template": "MR held-out template",
    "located_template": "MR located template",
    "never_seen": "MR never-seen",
}
STYLES = {"passed": "green", "failed": "bold red", "not measured": "bold red"}


def show_run(folder: Path, console: Console) -> bool:
    """Print what a finished run found; returns whether the verdict accepts the edit.

    Raises:
        ExciseError: no verdict is there, or the run has begun again and not come to one since.
    """
    path = folder / "verdict.json"
    if "validate" not in load_record(folder).stages or not path.is_file():
        raise ExciseError(f"{folder}: holds no finished validation; excise run ends with one (see --out)")
    verdict = json.loads(path.read_text(encoding="utf-8"))
    accepted = bool(verdict["accepted"])
    console.print(_arms(verdict["arms"]))
    console.print(_checks(verdict["checks"]))
    if accepted:
        console.print(Text("VERDICT: accepted, every required check passed", style="bold green"))
    else:
        console.print(Text("VERDICT: refused, this edit is not fit for release", style="bold red"))
    for reason in verdict["reasons"]:
        console.print(Text(f"  - {reason}"), soft_wrap=True)
    edited = "edited model" if accepted else "edited model (refused)"
    for label, name in (
        ("report", "report.html"),
        ("summary", "report.md"),
        ("verdict", path.name),
        (edited, "edited"),
    ):
        if (folder / name).exists():
            console.print(Text(f"  {label:24}{folder / name}"), soft_wrap=True)
    return accepted


def _arms(arms: dict[str, Any]) -> Table:
    """A row per measure, a column per arm; each value with its 95 % interval."""
    table = Table(
        title="Base, edited model and controls, with 95 % intervals",
        caption="MR: memorization rate, % of images that replicate their training image",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    table.add_column()
    for name, arm in arms.items():
        table.add_column(arm["label"], justify="right", style="bold" if name == "edited" else "")
    for key, label in SETS.items():
        measured = [arm["sets"].get(key) for arm in arms.values()]
        if any(measured):
            table.add_row(label, *(_cell(found, "memorization_rate", 100, 1) for found in measured))
    table.add_row("caption agreement, %", *(_cell(arm["agreement"], "rate", 100, 1) for arm in arms.values()))
    table.add_row("drift from base", *(_cell(arm["drift"], "value", 1, 2) for arm in arms.values()))
    zeroed = [arm["entries_zeroed"] for arm in arms.values()]
    table.add_row("weights set to zero", *("–" if count is None else f"{count:,}" for count in zeroed))
    return table


def _cell(measured: dict[str, Any] | None, key: str, scale: float, digits: int) -> str:
    """Value and interval; the interval of a percentage in whole per cent."""
    if measured is None:
        return "–"
    if measured["interval"] is None:
        return f"{scale * measured[key]:.{digits}f}"
    low, high = measured["interval"]
    places = 0 if scale == 100 else digits
    return f"{scale * measured[key]:.{digits}f} [{scale * low:.{places}f}–{scale * high:.{places}f}]"


def _checks(checks: list[dict[str, Any]]) -> Table:
    table = Table(title="What the recipe requires", box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("check", "value", "limit", "status"):
        table.add_column(heading, justify="right" if heading in ("value", "limit") else "left")
    unclear = False
    for check in checks:
        value = "–" if check["value"] is None else f"{check['value']:.3f}"
        limit = "–" if check["limit"] is None else f"{check['relation']} {check['limit']:g}"
        doubtful = check["passed"] is True and check["clear"] is False
        unclear |= doubtful
        status = Text(check["status"] + (" *" if doubtful else ""), style=STYLES.get(check["status"], "dim"))
        table.add_row(check["question"], value, limit, status)
    if unclear:
        table.caption = "* the 95 % interval reaches over the limit: only more prompts can tell for certain"
    return table
