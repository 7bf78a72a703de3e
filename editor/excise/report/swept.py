"""What a sweep found: a table in the terminal and as CSV, and the front as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from rich import box
from rich.table import Table
from rich.text import Text

from excise.prompts.questions import MEMORIZED, Kind, Question
from excise.report.figures import CONTROL, STYLE, as_svg
from excise.run.swept import Swept, SweptSetting
from excise.verdict.front import Standing, came_back, damaged
from excise.verdict.models import Agreement, Check, Estimate, ModelResult

COLOURS = {"zero": CONTROL, "project": "#1f6fb2", "compensate": "#3d8b5f"}
OTHERS = "#7a5ca8"
SETS = tuple((Question(place, kind), f"{name}_{kind}") for place, name in
             zip(MEMORIZED, ("located", "left_out"), strict=True) for kind in Kind)  # fmt: skip
"""Questions, and what they are called here: what stands for held out is what a fold left out."""
COLUMNS = (
    "number", "setting", "sites", "method", "within_limits", "front", "chosen", "back", "damage",
    *(name for _, name in SETS), *(f"{name}_nearest_own" for _, name in SETS), "search",
    "agreement", "drift", "neighbour_agreement", "neighbour_drift", "changed", "seconds", "exceeds", "unmeasured",
)  # fmt: skip
Row = dict[str, str | int | float | None]


def rows_of(swept: Swept, standings: Sequence[Standing], chosen: str | None) -> Iterator[Row]:
    """The base, then every setting by its standing, then those that could not be made; shares and drifts as numbers."""
    yield {"number": 0, "setting": "base", **_numbers(swept.base)}
    settings = {setting.name: setting for setting in swept.settings}
    for number, standing in enumerate(standings, start=1):
        setting = settings[standing.name]
        yield {
            "number": number,
            **_described(setting),
            "within_limits": int(standing.within),
            "front": int(standing.on_front),
            "chosen": int(standing.name == chosen),
            **_numbers(setting.result),
            "exceeds": "; ".join(map(_limit, standing.exceeded)),
            "unmeasured": "; ".join(map(_limit, standing.unmeasured)),
        }
    for setting in swept.settings:
        if setting.refused is not None:
            yield {**_described(setting), "exceeds": setting.refused}


def _described(setting: SweptSetting) -> Row:
    return {
        "setting": setting.name,
        "sites": setting.sites,
        "method": setting.method,
        "seconds": round(setting.seconds, 1),
    }


def _numbers(result: ModelResult | None) -> Row:
    assert result is not None
    beside = result.neighbours
    found: dict[str, float | None] = {"back": came_back(result), "damage": damaged(result)}
    for question, name in SETS:
        if (one := result.sets.get(question.key)) is not None:
            found[name], found[f"{name}_nearest_own"] = one.memorization_rate, one.identification_rate
    found["search"] = came_back(result) if result.other_attacks else None
    found |= {"agreement": _rate(result.agreement), "drift": _value(result.drift)}
    if beside is not None:
        found |= {"neighbour_agreement": _rate(beside.agreement), "neighbour_drift": _value(beside.drift)}
    whole: Row = {key: None if value is None else round(value, 5) for key, value in found.items()}
    return whole | {"changed": result.weights_changed}


def _rate(found: Agreement | None) -> float | None:
    return found.rate if found else None


def _value(found: Estimate | None) -> float | None:
    return found.value if found else None


def _limit(check: Check) -> str:
    return check.name if check.set is None else f"{check.name} ({check.set.replace('held_out', 'left_out')})"


def as_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV, what is not known left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def sweep_table(rows: Sequence[Row]) -> Table:
    """What a person needs to choose, a row per setting."""
    table = Table(
        title="Edits cross-validated among the located groups",
        caption="shares in per cent: verbatim / template; of nearest own: located / left out. back: of all memorized "
        "images (under search where there was one). damage: drift of ordinary images or neighbours', the larger. ▶ "
        "chosen, ◆ on the front, ✓ exceeds no limit of the recipe",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    table.add_column("", no_wrap=True)
    table.add_column("setting", overflow="fold", min_width=24)
    for heading in ("back", "damage", "located", "left out", "nearest own", "agree", "neighb."):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        marks = [mark for key, mark in (("chosen", "▶"), ("front", "◆"), ("within_limits", "✓")) if row.get(key)]
        damage = row.get("damage")
        cells = (
            _percent(row, "back"),
            "–" if damage is None else f"{float(damage):.2f}",
            _percent(row, "located_verbatim", "located_template"),
            _percent(row, "left_out_verbatim", "left_out_template"),
            _percent(row, "located_verbatim_nearest_own", "left_out_verbatim_nearest_own"),
            _percent(row, "agreement"),
            _percent(row, "neighbour_agreement"),
        )
        number = row.get("number")
        table.add_row(f"{'' if number is None else number} {''.join(marks)}".strip(), Text(str(row["setting"])), *cells)
    return table


def _percent(row: Row, *keys: str) -> str:
    found = [row.get(key) for key in keys]
    return "/".join("–" if value is None else f"{100 * float(value):.0f}" for value in found)


def front_figure(swept: Swept, standings: Sequence[Standing], chosen: str | None) -> bytes:
    """What comes back of memorized images against what is damaged, a point per setting, numbered as in the table.

    Full points exceed no limit of the recipe; the line is the front; crosses are controls.
    """
    settings = {setting.name: setting for setting in swept.settings}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0], [100 * came_back(swept.base)], "s", ms=7, color="#4d4d4d", label="base", gid="base")
        seen: set[str] = set()
        for number, one in enumerate(standings, start=1):
            setting = settings[one.name]
            label = f"{setting.method} (control)" if setting.control else setting.method
            colour = "#999" if setting.control else COLOURS.get(setting.method, OTHERS)
            axes.plot(
                [one.damage],
                [100 * one.back],
                "x" if setting.control else "o",
                ms=9 if one.name == chosen else 6,
                color=colour,
                mfc=colour if one.within else "white",
                mew=1.4,
                label=None if label in seen else label,
                gid=f"setting-{number}",
                zorder=3,
            )
            if one.on_front or setting.control:
                axes.annotate(
                    f"{number}" + (" chosen" if one.name == chosen else ""),
                    (one.damage, 100 * one.back),
                    xytext=(5, 5),
                    textcoords="offset points",
                    fontsize=8,
                )
            seen.add(label)
        edge = sorted((one.damage, 100 * one.back) for one in standings if one.on_front)
        if edge:
            x, y = zip(*edge, strict=True)
            axes.step(x, y, where="post", lw=1.0, color="#888", zorder=1, label="front", gid="front")
        axes.set_ylim(-3, 104)
        axes.set_xlim(left=-0.03)
        searched = bool(swept.base.other_attacks)
        axes.set_ylabel(f"memorized images that come back {'under search' if searched else 'under replay'}, %")
        axes.set_xlabel("damage: drift of ordinary images or of neighbours', the larger (1: as far as another seed)")
        axes.set_title("full: exceeds no limit of the recipe", fontsize=9, loc="left")
        axes.legend(frameon=False, loc="upper right")
        return as_svg(figure)
