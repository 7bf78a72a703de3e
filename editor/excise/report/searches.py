"""What searches brought back, for readers: the word for it, its table, its curve, and the pictures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from excise.mathematics.intervals import rate_interval
from excise.measures.replication import load_target
from excise.prompts.concept import CONCEPT
from excise.prompts.questions import ATTACKED, SHOWN, question
from excise.recipe.suite import Asking
from excise.report import concepts
from excise.report.figures import STYLE, as_uri
from excise.report.picture_rows import Pictures, data_uri, faded
from excise.report.words import percent
from excise.run.images import read_prompt, stored
from excise.trial.blocks import Asked
from excise.trial.rounds import REPLAY, Round, rounds_of
from excise.trial.subjects import BASE, EDITED, TWIN
from excise.verdict.compare import worst_of
from excise.verdict.making import STRONG
from excise.verdict.models import Comparison
from excise.verdict.row import Searched
from excise.verdict.search_checks import SAID, strength, unsearched

PICTURED = 24
"""Images whose search is shown, of each question."""
_FATES = {
    "still there": "The images are still there: their own captions bring them back.",
    "hidden": "The images are hidden, not gone: their captions bring them back no more, and a search does, more often "
    "than from a model that never saw them.",
    "gone": "The images are gone, as far as these attacks tell: no search brings back more of them than from a model "
    "that never saw them.",
    "not searched": "Whether the images are hidden or gone is not known: nothing but their captions was tried.",
}
_NOTHING_BESIDE = (
    "Whether the images are hidden or gone is not known: there is neither a twin nor a never-seen image to compare "
    "with, and with enough steps a search makes any model draw any image."
)
_NO_MORE = "No search brings back more of the images than from a model that never saw them."
_REPLAYED = (
    "Only prompt replay was tried: each training caption as it stands, at a few seeds. Other prompts, embeddings found "
    "by search, or further training may still bring an image back, and an edit that suppresses replication need not "
    "have erased the image. Only the prompts of the recipe’s tables were tried."
)


def fate(verdict: Searched) -> str:
    """What became of the images, or of the concept, in a sentence, and whether the search was strong enough to tell."""
    if CONCEPT in verdict.kinds:
        return concepts.fate(verdict)
    if verdict.fate == "not searched" and verdict.attacks and not verdict.comparisons:
        return _NOTHING_BESIDE
    if verdict.fate != "unclear":
        return _FATES[verdict.fate]
    found = strength(verdict.comparisons)
    if BASE not in verdict.models:
        return f"{_NO_MORE} But nothing was tried on the base: whether these attacks find what is there is not known."
    if found is None:
        return f"{_NO_MORE} But embedding search, the strongest, was not made: this is too little to call them gone."
    missed = unsearched(verdict.models[EDITED].sets, verdict.comparisons)
    if found >= STRONG and missed:
        return (
            f"{_NO_MORE} But embedding search was not made on {' and '.join(missed)} images: nothing but weaker "
            "attacks was tried on these, too little to call them gone."
        )
    return (
        f"{_NO_MORE} But of the base, which has them, embedding search brings back {percent(found)} at most: too few "
        "to call them gone."
    )


def limits(verdict: Searched) -> str:
    """What the attacks that were made leave open."""
    if CONCEPT in verdict.kinds:
        return concepts.limits(verdict)
    if not verdict.attacks:
        return _REPLAYED
    tried = sorted({point.attack for point in verdict.attacks.values()} - {REPLAY})
    budgets = ", ".join(f"{SAID.get(name, name)} ({_budget(verdict, name)})" for name in tried)
    return (
        f"Tried were prompt replay and {budgets}, on {len(verdict.attacked)} images. With enough steps any model can "
        "be made to draw any image, so a search counts only beside the same search on a model that never saw the "
        "images. Stronger searches, other budgets, or further training may still bring an image back."
    )


def _budget(verdict: Searched, attack: str) -> str:
    points = [point for point in verdict.attacks.values() if point.attack == attack]
    steps, ways = max(point.steps or 0 for point in points), list(dict.fromkeys(point.variant for point in points))
    said = [f"{steps} steps"] if steps else []
    said += [f"from: {', '.join(ways)}"] if any(ways) else []
    return "; ".join(said) or "as it is"


def final(verdict: Searched) -> list[Comparison]:
    """Comparisons at the end of each curve."""
    ends: dict[tuple[str, str, str], Comparison] = {}
    for found in verdict.comparisons:
        point = verdict.attacks[found.attack]
        ends[point.attack, point.variant, found.set] = found
    return list(ends.values())


def worst(verdict: Searched) -> list[dict[str, Any]]:
    """Of each memorized image what brings most of it back from the edited model: ``image``, ``set``, ``by`` (None where
    nothing does), ``edited``, ``certificate`` (None where there is nothing to compare with)."""
    certified = {(one.sha256, one.set): one for one in verdict.certificates}
    found = []
    for row in (row for row in verdict.attacked if question(row.set).memorized):
        by, share = worst_of(verdict.attacks, row)
        found.append({"image": row.sha256, "set": row.set, "by": by if share else None, "edited": share,
                      "certificate": certified.get((row.sha256, row.set))})  # fmt: skip
    return found


def worst_said(verdict: Searched) -> str:
    """How many images come back by anything, and what brings most of each back; prompts may share an image."""
    best: dict[str, dict[str, Any]] = {}
    for one in worst(verdict):
        if one["image"] not in best or one["edited"] > best[one["image"]]["edited"]:
            best[one["image"]] = one
    images = list(best.values())
    by = Counter(one["by"] for one in images if one["by"] is not None)
    ways = ", ".join(f"{name}: {count}" for name, count in by.most_common())
    told = f"Of {len(images)} images, {by.total()} come back from the edited model by some attack"
    return f"{told}. What brings most of an image back: {ways}." if by else f"{told}."


def curves(verdict: Searched) -> str | None:
    """The rate of each model over the steps of each search, all memorized images together; None without a curve."""
    ways = list(dict.fromkeys((p.attack, p.variant) for p in verdict.attacks.values() if p.steps is not None))
    if not ways:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(min(9.4, max(6.0, 1.2 + 2.6 * len(ways))), 2.8), layout="constrained")
        for axes, (attack, variant) in zip(figure.subplots(1, len(ways), squeeze=False)[0], ways, strict=True):
            keys = {k: p for k, p in verdict.attacks.items() if (p.attack, p.variant) == (attack, variant)}
            for name, memorized, label in ((BASE, True, "base"), (EDITED, True, "edited"), (TWIN, True, "twin"),
                                           (EDITED, False, "edited, never-seen images")):  # fmt: skip
                drawn = {k: _rate(verdict, k, name, memorized) for k in keys}
                known = {keys[k].steps: found for k, found in drawn.items() if found is not None}
                if not known:
                    continue
                steps, style = [float(step or 0) for step in known], "-" if memorized else ":"
                colour = verdict.models[name].colour
                axes.plot(
                    steps, [100 * v for v, _, _ in known.values()], f"o{style}", ms=3.5, color=colour, label=label
                )
                if memorized:
                    low, high = ([100 * found[end] for found in known.values()] for end in (1, 2))
                    axes.fill_between(steps, low, high, color=colour, alpha=0.12, lw=0)
            axes.set_xscale("log")
            axes.set_xticks([p.steps for p in keys.values()], [str(p.steps) for p in keys.values()])
            axes.minorticks_off()
            axes.set_ylim(-3, 104)
            axes.set_title(f"{attack}, from: {variant}" if variant else attack, fontsize=9)
            axes.set_xlabel("steps of search")
        figure.axes[0].set_ylabel("images brought back, %")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, ncols=4, loc="outside upper left")
        return as_uri(figure)


def _rate(verdict: Searched, key: str, model: str, memorized: bool) -> tuple[float, float, float] | None:
    rows = [
        row for row in verdict.attacked if question(row.set).memorized is memorized and model in row.hits.get(key, {})
    ]
    if not rows:
        return None
    shares = [row.hits[key][model] / verdict.attacks[key].seeds for row in rows]
    return rate_interval(shares, [row.cluster for row in rows])


def grids(pictures: Pictures, asking: Asking, asked: Asked) -> list[dict[str, Any]]:
    """What the first search brought back at its end: per question ``title``, ``columns`` and ``prompts``.

    Each prompt has ``caption`` and ``cells``: the training image, then each model's image that came nearest.
    """
    made = [found for found in rounds_of(asking) if found.attack != REPLAY]
    if not made:
        return []
    found = []
    for one in (one for one in (*ATTACKED, *SHOWN) if one in asked):
        models = [name for name in pictures.columns if one.key in _sets(pictures, made[0], name)]
        if models:
            prompts = asked[one]
            places = made[0].places(prompts)[:PICTURED]
            shown = [_cells(pictures, made[0], models, one.key, i, prompts[place]) for i, place in enumerate(places)]
            columns = ["training image" if one.memorized else "never-seen image", *models]
            found.append({"title": one.label.capitalize(), "round": made[0].keys[-1], "columns": columns,
                          "prompts": shown})  # fmt: skip
    return found


def _sets(pictures: Pictures, made: Round, model: str) -> dict[str, Any]:
    return dict(pictures.measures.models[model].other_attacks.get(made.keys[-1], {}))


def _cells(pictures: Pictures, made: Round, models: list[str], key: str, index: int, prompt: Any) -> dict[str, Any]:
    threshold, cells = pictures.verdict.threshold, list[dict[str, Any]]()
    for name in models:
        measured = _sets(pictures, made, name)[key]
        likeness = [s - d for s, d in zip(measured.ssim[index], measured.distance[index], strict=True)]
        best = likeness.index(max(likeness))
        distance, ssim = measured.distance[index][best], measured.ssim[index][best]
        drawn = read_prompt(stored(pictures.images, made.keys[-1], name, question(key)), index)[best]
        holds = distance <= threshold.value and (threshold.ssim is None or ssim >= threshold.ssim)
        cells.append({"uri": data_uri(drawn), "alt": f"{name}: {'replicates' if holds else 'does not'}", "yes": holds,
                      "size": drawn.shape[-2:]})  # fmt: skip
    target = load_target(prompt, *cells[0]["size"])
    first = {"uri": data_uri(faded(target)), "alt": f"image of: {prompt.text}", "yes": None}
    return {"caption": prompt.text, "cells": [first, *cells]}
