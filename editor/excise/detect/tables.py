"""What a scan leaves for a job: tables of memorized, ordinary, judged and neighbouring captions."""

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
from excise.files.writing import written_whole
from excise.mathematics.detection import exceedances
from excise.prompts.near_duplicates import words

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
