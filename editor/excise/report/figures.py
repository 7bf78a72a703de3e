"""The report's figures, each an SVG in a data URI, drawn from the verdict or from what was located."""

from __future__ import annotations

import base64
import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from excise.prompts.questions import Question
from excise.report import words
from excise.run.evidence import Located, Shared
from excise.verdict.decide import LIMITS
from excise.verdict.models import Replication, Verdict

EDITED, CONTROL = "#1f6fb2", "#b0662d"
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888",
    "axes.linewidth": 0.8,
    "xtick.color": "#333",
    "ytick.color": "#333",
    "svg.fonttype": "none",
    "svg.hashsalt": "excise",
}


def replication_bars(verdict: Verdict) -> str | None:
    """Memorization rate of every model on every question with its interval; dashed, the limit for the edited model.

    None where no rate was measured.
    """
    questions, models = words.shown(verdict), verdict.models
    if not questions:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        width = 0.8 / len(models)
        seen: set[str] = set()
        for m, model in enumerate(models.values()):
            places = [x for x, question in enumerate(questions) if question.key in model.sets]
            found = [model.sets[questions[x].key] for x in places]
            rate = np.array([measured.memorization_rate for measured in found])
            ends = np.array([measured.interval for measured in found]).T
            axes.bar(
                np.array(places) - 0.4 + width * (m + 0.5),
                100 * rate,
                width * 0.9,
                yerr=100 * np.abs(ends - rate),
                label=model.label,
                color=model.colour,
                alpha=0.6 if model.colour in seen else 1.0,
                error_kw={"lw": 1.0, "capsize": 2.5, "ecolor": "#111"},
            )
            middles = np.array(places) - 0.4 + width * (m + 0.5)  # a bar of height zero is seen by its dot
            axes.plot(
                middles, 100 * rate, "o", ms=4.5, color=model.colour, mec="#111", mew=0.6, zorder=3, clip_on=False
            )
            seen.add(model.colour)
        places_of = {question.key: x for x, question in enumerate(questions)}
        for check in verdict.checks:
            if check.name in LIMITS.values() and check.limit is not None and check.set in places_of:
                x = places_of[check.set] - 0.4 + width * (list(models).index("edited") + 0.5)
                axes.hlines(
                    100 * check.limit, x - 0.7 * width, x + 0.7 * width, color="#c0392b", lw=1.6, ls=(0, (3, 1))
                )
        labels = [_label(question, verdict.base.sets[question.key]) for question in questions]
        axes.set_xticks(range(len(questions)), labels)
        axes.set_ylim(0, 104)
        axes.set_ylabel("memorization rate, %")
        axes.tick_params(axis="x", length=0)
        axes.legend(frameon=False, ncols=len(models), loc="lower left", bbox_to_anchor=(0.0, 1.0))
        return as_uri(figure)


def _label(question: Question, found: Replication) -> str:
    return f"{question.label}\n{words.asked_of(question, found)}"


def iou_by_call(shared: Shared) -> str:
    """Mean IoU between groups at each denoiser call, memorized beside ordinary groups."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for name, label, colour in _BOTH:
            values = [np.nan if value is None else value for value in getattr(shared, name).mean_by_call]
            axes.plot(range(len(values)), values, "o-", ms=3.5, lw=1.5, color=colour, label=label)
        axes.set_ylim(0, 1)
        axes.set_xlabel("denoiser call")
        axes.set_ylabel("mean IoU between groups")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, loc="best")
        return as_uri(figure)


def iou_heat_maps(located: Located) -> str:
    """For each site the IoU between groups, mean over calls: memorized above, ordinary below, one scale."""
    names = [words.site_name(site.name) for site in located.sites]
    columns = min(8, len(names))
    bands = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.05 * columns + 1.0, 2.75 * bands + 0.1), layout="constrained")
        grid = figure.subplots(2 * bands, columns, squeeze=False)
        scale = Normalize(0, 1)
        for axes in grid.flat:
            axes.set_axis_off()
        for row, (key, label, _) in enumerate(_BOTH):
            calls = np.array(
                getattr(located.iou, key).by_call, dtype=float
            )  # (calls, sites, groups, groups), NaN for None
            for i, name in enumerate(names):
                axes = grid[2 * (i // columns) + row, i % columns]
                axes.set_axis_on()
                matrix = _mean_over_calls(calls[:, i])
                axes.pcolormesh(matrix[::-1], norm=scale, cmap="magma", edgecolors="white", lw=0.5)
                axes.set_aspect("equal")
                axes.set_xticks([])
                axes.set_yticks([])
                for spine in axes.spines.values():
                    spine.set_visible(False)
                off = matrix[~np.eye(len(matrix), dtype=bool)]
                mean = f"{np.nanmean(off):.2f}" if np.isfinite(off).any() else "none"
                axes.set_title(f"{name}\n{mean}" if row == 0 else mean, fontsize=8)
                if i % columns == 0:
                    axes.set_ylabel(label.split()[0], fontsize=8)
        figure.colorbar(ScalarMappable(scale, "magma"), ax=grid, shrink=0.6, aspect=25, label="IoU")
        return as_uri(figure)


def selected_by_site(located: Located) -> str:
    """Share of each site's entries that were located, and what the same search finds in ordinary prompts."""
    sites = located.sites
    names = [words.site_name(site.name) for site in sites]
    places = np.arange(len(sites))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 0.7 + 0.3 * len(sites)), layout="constrained")
        axes = figure.add_subplot()
        share = np.array([100 * site.selected / (site.outputs * site.neurons) for site in sites])
        control = [100 * (site.control_selected or 0) / (site.outputs * site.neurons) for site in sites]
        axes.barh(places, share, 0.62, color=EDITED, label="located")
        if located.control_selected is not None:
            said = "found with ordinary prompts instead"
            axes.plot(control, places, "D", ms=6, color=CONTROL, mec="white", ls="none", label=said)
        axes.set_xlim(0, 1.3 * max(share.max(), max(control), 1e-9))
        for place, site, value, other in zip(places, sites, share, control, strict=True):
            axes.annotate(
                f"{site.selected:,}",
                (max(value, other), place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("share of the site's entries, % (beside the bar: entries)")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        return as_uri(figure)


_BOTH = (
    ("memorized", "memorized groups", EDITED),
    ("control", "ordinary groups (control)", CONTROL),
)


def _mean_over_calls(matrices: Any) -> Any:
    """Mean of ``(calls, groups, groups)`` over calls, without the NaN of empty masks; NaN where all are."""
    known = np.isfinite(matrices)
    total = np.where(known, matrices, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def as_svg(figure: Figure) -> bytes:
    """A figure as an SVG, the same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def as_uri(figure: Figure) -> str:
    """A figure as an SVG in a data URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(as_svg(figure)).decode()}"
