"""Decisions on tables of any length: memory holds the null and what is kept; numbers as of all at once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from scipy.stats import false_discovery_control

from excise.detect import settings
from excise.detect.decisions import decide
from excise.detect.results import write_scores
from excise.detect.scoring import CUT, Scored
from excise.detect.tables import neighbours_of
from excise.files.writing import write_tensors
from excise.prompts.streams import Stream
from excise.run.layout import Run

NAMES = ("magnitude",)


def scored(folder: Path, name: str, values: np.ndarray, texts: list[str] | None = None) -> Scored:
    """A table on disk whose parts are there, as if it had been scored."""
    table = folder / f"{name}.txt"
    table.write_text("\n".join(texts or (f"caption number {i} of {name}" for i in range(len(values)))))
    found = Scored(Run(folder), name, Stream(table), len(values))
    found.part(0).parent.mkdir(parents=True)
    for number in range(found.parts):
        part = torch.from_numpy(values[number * found.chunk : (number + 1) * found.chunk].copy())
        write_tensors(found.part(number), {"magnitude": part, CUT: (part > 3).to(torch.uint8)})
    return found


def test_decisions_are_those_of_all_scores_at_once(tmp_path: Path) -> None:
    own = np.random.default_rng(0)
    null, values = own.normal(size=999), np.concatenate([own.normal(size=2_000), own.normal(6.0, 0.5, size=60)])
    captions, ordinary = scored(tmp_path, "captions", values), scored(tmp_path, "ordinary", null)
    found = decide(captions, ordinary, NAMES, rate=0.05, kept=100)
    p = (1 + (null[None] >= values[:, None]).sum(axis=1)) / 1_000
    q = false_discovery_control(p)
    assert found.discoveries == (q <= 0.05).sum() >= 40 and found.cut == (values > 3).sum()
    order = np.argsort(-values)[:100]
    assert [row.caption.row - 1 for row in found.top] == order.tolist()
    assert [row.q for row in found.top] == pytest.approx(q[order].tolist())
    assert [row.p for row in found.top] == pytest.approx(p[order].tolist())
    assert found.threshold == pytest.approx(values[q <= 0.05].min()) and found.histogram.sum() == 2_060
    few = decide(captions, ordinary, NAMES, rate=0.05, kept=5)
    assert few.threshold == found.threshold and few.discoveries > 5, "what is called and not kept counts"
    assert found.least == 42, "2,060 captions against 999: at 5 % so many must be above all"
    write_scores(tmp_path / "scores.parquet", captions, found, NAMES)
    table = pyarrow.parquet.read_table(tmp_path / "scores.parquet")
    assert np.array_equal(table["magnitude"].to_numpy(), values) and np.allclose(table["q"].to_numpy(), q)


def test_memory_does_not_grow_with_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "USUAL_CHUNK", settings.LEAST_CHUNK)  # so that tables of a test have all their parts
    own, peaks = np.random.default_rng(0), []
    for count in (17_000, 51_000):  # of about a thousand parts each
        folder = tmp_path / str(count)
        folder.mkdir()
        captions = scored(folder, "captions", own.normal(size=count))
        ordinary = scored(folder, "ordinary", own.normal(size=500))
        tracemalloc.start()
        found = decide(captions, ordinary, NAMES, rate=0.05, kept=50)
        write_scores(folder / "scores.parquet", captions, found, NAMES)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks


def test_neighbours_share_words_and_score_as_ordinary_ones(tmp_path: Path) -> None:
    texts = [
        "red carpet with old pattern",
        "blue carpet with old pattern",
        "green carpet with old pattern",
        "a cow",
        "carpet",
    ]
    captions = scored(tmp_path, "captions", np.array([9.0, 0.0, 5.0, 0.0, -1.0]), texts)
    ordinary = scored(tmp_path, "ordinary", np.linspace(-2.0, 2.0, 100))
    found = decide(captions, ordinary, NAMES, rate=0.05, kept=5)
    assert neighbours_of(texts[:1], captions, found, "magnitude") == [texts[1], texts[4]], "the third may be memorized"
