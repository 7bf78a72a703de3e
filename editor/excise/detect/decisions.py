"""Which captions are memorized: scores against those of ordinary captions, at a false discovery rate."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from excise.detect.scoring import CUT, Numbers, Scored
from excise.mathematics.detection import discovery_rates, exceedances, p_values
from excise.prompts.streams import Caption

BINS = 60


@dataclass(frozen=True)
class Null:
    """The scores of ordinary captions."""

    values: Numbers
    """Sorted."""

    @classmethod
    def of(cls, scored: Scored, name: str) -> Null:
        """That of a score."""
        return cls(np.sort(np.concatenate(list(scored.scores(name)))))

    def p(self, score: float) -> float:
        """P-value of a score."""
        return float(p_values(exceedances(np.array([score]), self.values), self.values.size)[0])


@dataclass(frozen=True)
class Row:
    """A caption of a high score."""

    caption: Caption
    scores: dict[str, float]
    p: float
    q: float
    """The rate of false discoveries among the captions of at least this score; Benjamini & Hochberg's."""
    memorized: bool
    """Whether that is at most the rate asked for."""


@dataclass(frozen=True)
class Decided:
    """What is said of a table of captions."""

    null: Null
    rates: Numbers
    """By number of exceedances."""
    count: int
    discoveries: int
    """Captions that are called memorized; more than `top` holds, perhaps."""
    cut: int
    """Captions that the tokenizer cuts."""
    top: tuple[Row, ...]
    """Those of the highest scores, highest first; of equal captions the first."""
    edges: Numbers
    """Of the histogram."""
    histogram: Numbers
    """Captions between them."""
    least: int
    """How many captions must be above every ordinary one for any to be a discovery; where that is more than one, more
    ordinary captions would find fewer."""
    threshold: float | None
    """The lowest score that is called memorized, whether `top` holds it or not; None where none is."""


def decide(captions: Scored, ordinary: Scored, names: tuple[str, ...], rate: float, kept: int) -> Decided:
    """Hold a table's scores against those of ordinary captions; the first score decides.

    The table is gone through three times, and memory holds the ordinary scores and ``kept`` captions.

    Args:
        captions: asked about.
        ordinary: known to be ordinary.
        names: of the scores.
        rate: of false discoveries.
        kept: captions whose texts are kept.
    """
    null = Null.of(ordinary, names[0])
    counts, low, high, cut = np.zeros(null.values.size + 1, dtype=np.int64), null.values[0], null.values[-1], 0
    for scores in captions.scores(names[0]):
        counts += np.bincount(exceedances(scores, null.values), minlength=counts.size)
        low, high = min(low, scores.min()), max(high, scores.max())
    for flags in captions.scores(CUT):
        cut += int(flags.sum())
    rates = discovery_rates(counts)
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    histogram, threshold = np.zeros(BINS), np.inf
    for scores in captions.scores(names[0]):
        histogram += np.histogram(scores, edges)[0]
        called = scores[rates[exceedances(scores, null.values)] <= rate]
        threshold = min(threshold, called.min(initial=np.inf))
    every = p_values(np.arange(counts.size), null.values.size)
    top = tuple(
        Row(caption, scores, float(every[above]), float(rates[above]), bool(rates[above] <= rate))
        for caption, scores, above in _highest(captions, null, names, kept)
    )
    least = int(np.ceil(captions.count / ((null.values.size + 1) * rate)))
    found = int(counts[rates <= rate].sum())
    lowest = float(threshold) if found else None
    return Decided(null, rates, captions.count, found, cut, top, edges, histogram, least, lowest)


def _highest(
    captions: Scored, null: Null, names: tuple[str, ...], kept: int
) -> list[tuple[Caption, dict[str, float], int]]:
    heap: list[tuple[float, int, str]] = []
    held: dict[str, tuple[Caption, dict[str, float]]] = {}
    for caption, scores in captions.rows(names):
        first = scores[names[0]]
        if caption.text in held or (len(heap) == kept and first <= heap[0][0]):
            continue
        held[caption.text] = (caption, scores)
        heapq.heappush(heap, (first, -caption.row, caption.text))
        if len(heap) > kept:
            del held[heapq.heappop(heap)[2]]
    ordered = [held[text] for _, _, text in sorted(heap, reverse=True)]
    above = exceedances(np.array([scores[names[0]] for _, scores in ordered]), null.values)
    return [(caption, scores, int(count)) for (caption, scores), count in zip(ordered, above, strict=True)]
