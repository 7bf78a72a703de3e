"""What a scan leaves for a job: tables of memorized, ordinary, judged and neighbouring captions, and a recipe."""

from __future__ import annotations

import csv
import heapq
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from excise.detect.decisions import Decided, Row
from excise.detect.ordinary import drawn_apart
from excise.detect.scoring import Scored
from excise.errors import ExciseError
from excise.files.writing import written_whole
from excise.mathematics.detection import exceedances
from excise.measures.replication import Rule
from excise.prompts.near_duplicates import words
from excise.prompts.sets import prompt_sets
from excise.recipe import Prompts, Recipe, Validate, Verdict
from excise.recipe.text import to_toml

JUDGED = 100
"""Captions for usefulness, at most; a quarter of the ordinary ones where these are few."""
LEAST_LIKE = 0.2
"""Jaccard index of the words of a neighbour and of a memorized caption, at least."""
LEAST_P = 0.1
"""P-value of a neighbour at least: nothing says that it is memorized too."""
PER_MEMORIZED = 4
"""Neighbours for each memorized caption, at most."""
UPPER = 0.01
"""Share of the ordinary captions, those of the highest scores, that go into no table: one may be memorized."""
PICTURES = "pictures"


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table in CSV, whole or not at all."""
    with written_whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")  # of which each alone is then quoted
        writer.writerow(header)
        writer.writerows(rows)


def write_memorized(path: Path, rows: Sequence[Row], targets: dict[str, str], beside: Path | None) -> dict[str, str]:
    """The captions that are called memorized, each with what an edit's pictures are to be compared with.

    Args:
        path: the table.
        rows: the captions.
        targets: names of their self-targets, in the folder `PICTURES` beside the table.
        beside: folder of the table of captions, where that is local and may name training images.

    Returns:
        By caption: ``training`` where the table names its training image, ``self`` where a picture of the model's own
        stands for it, ``none`` where there is nothing to compare with.
    """
    kinds, lines = {}, []
    for row in rows:
        text, image = row.caption.text, row.caption.image
        if beside is not None and image and _is_file(beside / image):
            kinds[text], file = "training", os.path.relpath(beside / image, path.parent)
        elif text in targets:
            kinds[text], file = "self", f"{PICTURES}/{targets[text]}"
        else:
            kinds[text], file = "none", ""
        score = next(iter(row.scores.values()))
        lines.append((text, file, kinds[text], f"{score:.6g}", f"{row.p:.3g}", f"{row.q:.3g}"))
    write_rows(path, ("prompt", "image", "target", "score", "p", "q"), lines)
    return kinds


def _is_file(path: Path) -> bool:
    """Whether there is such a file; an address or a picture's bytes in place of a name may be too long for one."""
    try:
        return path.is_file()
    except OSError:
        return False


def neighbours_of(memorized: Sequence[str], captions: Scored, decided: Decided, name: str) -> list[str]:
    """Captions of the table that share words with memorized ones and that nothing says are memorized, the likest first.

    The table is gone through once, and memory holds those that are kept.
    """
    bags = [words(text) for text in memorized]
    where: dict[str, list[int]] = defaultdict(list)
    for number, bag in enumerate(bags):
        for word in bag:
            where[word].append(number)
    most, taken, heap = PER_MEMORIZED * len(memorized), set(memorized), list[tuple[float, int, str]]()
    ordinary_above = LEAST_P * (decided.null.values.size + 1) - 1
    for caption, scores in captions.rows((name,)):
        if caption.text in taken or exceedances_of(scores[name], decided) < ordinary_above:
            continue
        bag = words(caption.text)
        shared = Counter(number for word in bag for number in where.get(word, ()))
        like = max((n / len(bag | bags[number]) for number, n in shared.most_common(50)), default=0.0)
        if like >= LEAST_LIKE:
            taken.add(caption.text)
            heapq.heappush(heap, (like, -caption.row, caption.text))
            if len(heap) > most:
                taken.discard(heapq.heappop(heap)[2])
    return [text for _, _, text in sorted(heap, reverse=True)]


def exceedances_of(score: float, decided: Decided) -> int:
    """How many ordinary captions have at least this score."""
    return int(exceedances(score, decided.null.values))  # type: ignore[arg-type]


def write_ordinary(folder: Path, ordinary: Scored, decided: Decided, name: str, taken: set[str]) -> tuple[int, int]:
    """``ordinary.csv`` and ``judged.csv`` of the captions that the scores were held against, but the highest.

    Args:
        folder: of the scan.
        ordinary: these captions.
        decided: their scores.
        name: of the score.
        taken: captions that are in other tables.

    Returns:
        How many are in each.
    """
    least = UPPER * decided.null.values.size
    plain = [row.text for row, scores in ordinary.rows((name,)) if exceedances_of(scores[name], decided) > least]
    return write_split(folder, drawn_apart(plain, taken))


def write_split(folder: Path, captions: Sequence[str]) -> tuple[int, int]:
    """``ordinary.csv`` and ``judged.csv``, disjoint; how many are in each."""
    judged = min(JUDGED, len(captions) // 4)
    write_rows(folder / "judged.csv", ("prompt",), [(text,) for text in captions[:judged]])
    write_rows(folder / "ordinary.csv", ("prompt",), [(text,) for text in captions[judged:]])
    return len(captions) - judged, judged


def recipe_of(draft: Recipe, folder: Path, rule: Rule, neighbours: bool) -> Recipe:
    """A recipe that runs as it is on the tables of a folder.

    What the tables are too small for is left out: groups of locating, evidence of sharing, held-out captions.

    Args:
        draft: name, model and sampling.
        folder: with memorized.csv, ordinary.csv, judged.csv and perhaps neighbours.csv.
        rule: of replication.
        neighbours: whether there is a table of them.

    Raises:
        ExciseError: the tables are too small for any.
    """
    recipe = draft.model_copy(
        update={
            "prompts": Prompts(
                memorized=draft.prompts.memorized,
                ordinary=folder / "ordinary.csv",
                judged=folder / "judged.csv",
                neighbours=folder / "neighbours.csv" if neighbours else None,
                column=draft.prompts.column,
            ),
            "validate_": Validate(threshold=rule.distance, ssim=rule.ssim, tiles=rule.tiles),
            "verdict": Verdict(agreement_drop=None, neighbour_agreement_drop=None, false_positives=None),
        }
    )
    reason: ExciseError | None = None
    for evidence, held_out in ((True, 0.5), (False, 0.5), (False, 0.0)):
        for groups in (4, 3, 2):
            prompts = recipe.prompts.model_copy(update={"held_out": held_out})
            found = recipe.model_copy(
                update={
                    "prompts": prompts,
                    "collect": recipe.collect.model_copy(update={"groups": groups}),
                    "locate": recipe.locate.model_copy(update={"evidence": evidence}),
                }
            )
            try:
                prompt_sets(found)
            except ExciseError as error:
                reason = error
            else:
                return found
    assert reason is not None
    raise reason


def write_recipe(path: Path, recipe: Recipe, opening: Sequence[str]) -> None:
    """A recipe as TOML that opens with what it does, a comment a line."""
    with written_whole(path) as unfinished:
        unfinished.write_text("".join(f"# {line}\n" for line in opening) + "\n" + to_toml(recipe), encoding="utf-8")
