"""The files of a finished scan: scores of every caption, the highest with decisions, tables and recipe, the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from excise.detect.decisions import Decided
from excise.detect.drawing import Pictures, self_targets
from excise.detect.first_recipe import recipe_of, write_recipe
from excise.detect.ordinary import MOST
from excise.detect.scoring import Scored
from excise.detect.settings import ScanSettings
from excise.detect.tables import (
    PICTURES,
    neighbours_of,
    write_memorized,
    write_ordinary,
    write_rows,
)
from excise.errors import ExciseError
from excise.files.writing import remove, written_whole
from excise.mathematics.detection import exceedances, p_values
from excise.recipe import Recipe
from excise.run.layout import Run

FILES = ("memorized.csv", "neighbours.csv", "ordinary.csv", "judged.csv", "top.csv", "scores.parquet")
"""What `leave` writes, beside the recipe and pictures."""
MOST_ALIKE = 0.125
"""Share of ordinary captions with one picture at most seeds above which that says nothing of memorization."""


@dataclass(frozen=True)
class Leaving:
    """What the files are written from."""

    folder: Path
    draft: Recipe
    settings: ScanSettings
    captions: Scored
    ordinary: Scored
    decided: Decided
    beside: Path | None
    """Folder of the table of captions, where that is local."""


def leave(
    leaving: Leaving, pictures: Pictures, drawn: Sequence[str], plain: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Write everything but the pictures.

    Args:
        leaving: what from.
        pictures: of ``drawn`` and ``plain``.
        drawn: captions of the highest scores.
        plain: ordinary captions drawn beside them.

    Returns:
        The numbers of ``scan.json``, and what is to be said, a sentence each.
    """
    folder, decided, settings, names = (
        leaving.folder,
        leaving.decided,
        leaving.settings,
        leaving.settings.scoring.scores,
    )
    same = {text: pictures.sameness(text).size for text in drawn}
    rows = [row for row in decided.top if row.memorized]
    write_scores(folder / "scores.parquet", leaving.captions, decided, names)
    write_rows(
        folder / "top.csv",
        ("rank", "row", "decision", *names, "p", "q", "one_picture", "prompt"),
        (
            (rank, row.caption.row, _decision(row.memorized), *(f"{row.scores[name]:.6g}" for name in names),
             f"{row.p:.3g}", f"{row.q:.3g}",
             f"{same[row.caption.text]}/{settings.images}" if row.caption.text in same else "", row.caption.text)
            for rank, row in enumerate(decided.top, 1)
        ),
    )  # fmt: skip
    flat = ordinary_alike(pictures, plain)
    alike = flat > MOST_ALIKE * len(plain)
    own = [] if alike else [row.caption.text for row in rows if row.caption.text in same]
    targets = self_targets(pictures, own, folder / PICTURES)
    kinds = write_memorized(folder / "memorized.csv", rows, targets, leaving.beside)
    near = neighbours_of([row.caption.text for row in rows], leaving.captions, decided, names[0]) if rows else []
    write_rows(folder / "neighbours.csv", ("prompt",), [(text,) for text in near])
    taken = {row.caption.text for row in rows} | set(near)
    ordinary, judged = write_ordinary(folder, leaving.ordinary, decided, names[0], taken)
    numbers = {kind: sum(found == kind for found in kinds.values()) for kind in ("training", "self", "none")}
    found: dict[str, Any] = {
        "captions": decided.count,
        "ordinary": int(decided.null.values.size),
        "scores": list(names),
        "rate": settings.rate,
        "memorized": decided.discoveries,
        "threshold": decided.threshold,
        "cut": decided.cut,
        "targets": numbers,
        "drawn": len(drawn),
        "one_picture": sum(size >= settings.share for size in same.values()),
        "ordinary_drawn": len(plain),
        "ordinary_one_picture": flat,
        "too_alike": alike,
        "tables": {"memorized": len(rows), "ordinary": ordinary, "judged": judged, "neighbours": len(near)},
    }
    recipe, why = _recipe(leaving, numbers, bool(near))
    return found | {"recipe": recipe}, [*_notes(leaving, found), why]


def ordinary_alike(pictures: Pictures, plain: Sequence[str]) -> int:
    """Of some ordinary captions, how many give one picture at most seeds."""
    return sum(pictures.sameness(text).size >= pictures.settings.share for text in plain)


def _decision(memorized: bool) -> str:
    return "memorized" if memorized else "not called"


def write_scores(path: Path, captions: Scored, decided: Decided, names: Sequence[str]) -> None:
    """Every caption with its scores, p and q in the table's order, in parquet; memory holds one part."""
    import pyarrow
    import pyarrow.parquet

    numbers = [pyarrow.field(name, pyarrow.float64()) for name in (*names, "p", "q")]
    schema = pyarrow.schema([("row", pyarrow.int64()), ("prompt", pyarrow.string()), *numbers])
    parts = zip(captions.chunks(), *(captions.scores(name) for name in names), strict=True)
    with written_whole(path) as unfinished, pyarrow.parquet.ParquetWriter(unfinished, schema) as file:
        for chunk, *scores in parts:
            above = exceedances(np.asarray(scores[0]), decided.null.values)
            columns = [[caption.row for caption in chunk], [caption.text for caption in chunk], *scores]
            columns += [p_values(above, decided.null.values.size), decided.rates[above]]
            file.write_batch(pyarrow.record_batch(columns, schema=schema))


def _notes(leaving: Leaving, found: dict[str, Any]) -> list[str]:
    decided, settings = leaving.decided, leaving.settings
    called = f"{found['memorized']:,} of {decided.count:,} captions are called memorized"
    wrong = (
        f"; at most {100 * settings.rate:g} % of these are expected to be wrong, if the ordinary captions are like the "
    )
    notes = [called + (f"{wrong}table's other ones" if found["memorized"] else "")]
    if decided.least > 1:
        notes.append(
            f"with {decided.null.values.size:,} ordinary captions, none can be called unless {decided.least:,} are "
            f"above every ordinary one; with {round(decided.count / settings.rate):,} ordinary ones "
            f"{_given(decided, settings)} one would be enough"
        )
    if decided.discoveries > settings.kept:
        notes.append(f"the {settings.kept:,} of the highest scores are kept")
    if decided.cut:
        notes.append(f"{decided.cut:,} captions are longer than the tokenizer takes: the model does not see their ends")
    targets = found["targets"]
    if targets["self"]:
        notes.append(
            f"{targets['self']} have a self-target: a picture that the model itself draws at most seeds, and no "
            "training image; comparing with it shows whether that picture is gone, not that a training image was copied"
        )
    if targets["none"] and decided.discoveries > settings.drawn and not found["too_alike"]:
        most = min(decided.discoveries, settings.kept)
        notes.append(
            f"of those called memorized, the {settings.drawn} of the highest scores were drawn, and others have no "
            f"self-target; --drawn {most} draws them"
        )
    if targets["none"]:
        notes.append(f"{targets['none']} have no picture to compare with; a job draws them to be looked at")
    if found["too_alike"]:
        notes.append(
            "ordinary captions give one picture at most seeds too: the threshold tells nothing here, and no "
            "self-target is taken; lower --threshold or give --ssim"
        )
    notes.append(
        f"one picture at most seeds: {found['one_picture']} of {found['drawn']} of the highest scores, "
        f"{found['ordinary_one_picture']} of {found['ordinary_drawn']} ordinary captions"
    )
    return notes


def _given(decided: Decided, settings: ScanSettings) -> str:
    """How more ordinary captions are given: the grammar's, as far as they go."""
    return "(--calibrate)" if decided.count / settings.rate <= MOST else "(--ordinary; those that come along are fewer)"


def _recipe(leaving: Leaving, targets: dict[str, int], neighbours: bool) -> tuple[str | None, str]:
    path, settings = leaving.folder / Run.recipe.name, leaving.settings
    try:
        recipe = recipe_of(leaving.draft, leaving.folder, settings.rule, neighbours)
    except ExciseError as error:
        remove(path)
        return None, f"no recipe: too little to locate with ({error})"
    opening = [
        "Made by `excise scan`: locates what the captions in memorized.csv share, and edits it. Paths are relative to",
        "the working directory; every key with its default: editor/excise/recipe.",
        f"Targets: {targets['training']} training images; {targets['self']} SELF-TARGETS, pictures that the model",
        f"itself draws at most seeds, which are no training images; {targets['none']} captions without any.",
    ]
    write_recipe(path, recipe, opening)
    return str(path), f"next: excise plan {path}, then excise run {path}"
