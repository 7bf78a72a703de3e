"""Do the scores of captions tell memorized ones from others? On the testbed, where it is known which are which."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from excise.attacks.replay import replay
from excise.checkpoint import Checkpoint
from excise.detect.scores import LENGTHS, Score, Scoring, score
from excise.diffusion.load import pick_device, quiet_libraries
from excise.mathematics.detection import highest_allowed
from excise.mathematics.intervals import Estimate, rate_interval
from excise.mathematics.separability import auc_interval
from excise.measures.replication import Rule, load_target
from excise.prompts.prompt import read_prompts
from excise.testbed.calibration import SAMPLING
from excise.testbed.world.planted import TABLE, prompt_of, read_planted

MEMORIZED, ORDINARY = "memorized", "ordinary"
ALIKE = ("neighbours", "never_seen")
"""Tables of captions that differ from memorized ones by duplication alone."""
FALSE = 0.01
"""Rate of false positives at which memorized captions are counted."""
FIRST_SEED = 5_000
"""Of the pictures by which a caption is seen to bring a planted one back."""


@dataclass(frozen=True)
class Caption:
    """A caption whose score is known to be that of a memorized one, or not."""

    text: str
    table: str
    image: str
    """What shares a training image is no independent evidence: its name, or that of the image it neighbours."""


@dataclass(frozen=True)
class Told:
    """How far a score tells memorized captions from others."""

    score: str
    calls: int
    against: str
    captions: int
    """Of the others."""
    area: Estimate
    """Under the ROC curve."""
    found: Estimate
    """Of the memorized ones, the share above all but `FALSE` of the others."""


def read_captions(folder: Path, limit: int | None = None) -> list[Caption]:
    """The captions of a testbed's tables, the first so many of each."""
    found = []
    for table in (MEMORIZED, *ALIKE, ORDINARY):
        for prompt in read_prompts(folder / f"prompts/{table}.csv")[:limit]:
            image = prompt.group or (prompt.image.stem if prompt.image else prompt.text)
            found.append(Caption(prompt.text, table, image))
    return found


def tell(captions: Sequence[Caption], values: Tensor, left_out: frozenset[str], named: tuple[str, int]) -> list[Told]:
    """Hold memorized captions against those that differ by duplication alone, and against ordinary ones.

    Args:
        captions: all of them.
        values: their score, ``(captions,)``.
        left_out: texts that turned out to bring a planted picture back: against the others without them, too.
        named: the score and its calls.
    """
    positive = torch.tensor([caption.table == MEMORIZED for caption in captions])
    clear = torch.tensor([caption.text not in left_out for caption in captions])
    of = {table: torch.tensor([caption.table == table for caption in captions]) for table in (*ALIKE, ORDINARY)}
    alike = of[ALIKE[0]] | of[ALIKE[1]]
    others = {"alike": alike, "alike, no triggers": alike & clear, "ordinary": of[ORDINARY]}
    told = []
    for against, negative in others.items():
        asked = positive | negative
        images = [caption.image for caption, seen in zip(captions, asked, strict=True) if seen]
        above = values[positive] > highest_allowed(values[negative], FALSE)
        found = rate_interval(above.double(), [caption.image for caption in captions if caption.table == MEMORIZED])
        area = auc_interval(values[asked], positive[asked], images)
        told.append(Told(*named, against, int(negative.sum()), area, found))
    return told


def triggers(pipeline: DiffusionPipeline, captions: Sequence[str], folder: Path, seeds: int, rule: Rule) -> list[str]:
    """Which captions make a model draw a picture that was planted, their own or another, at any of some seeds."""
    planted = [row for row in read_planted(folder / "images" / TABLE) if row.copies]
    targets = [load_target(prompt_of(row, folder / "images"), 64, 64) for row in planted]
    drawn = range(FIRST_SEED, FIRST_SEED + seeds)
    with tqdm(total=len(captions) * seeds, desc="drawn", mininterval=10) as bar:
        images = replay(pipeline, captions, drawn, SAMPLING, bar).float() / 255.0
    return [text for text, own in zip(captions, images, strict=True) if bool(rule.replicated_any(own, targets).any())]


def score_captions(pipeline: DiffusionPipeline, captions: Sequence[Caption], seeds: int, calls: Sequence[int],
                   curved: bool) -> dict[tuple[str, int], Tensor]:  # fmt: skip
    """Every score by its name and calls, float64 ``(captions,)``; those that know of one call alone have 1."""
    texts, found = [caption.text for caption in captions], dict[tuple[str, int], Tensor]()
    for count in sorted({1, *calls}):
        names: tuple[Score, ...] = tuple(LENGTHS) if count in calls else ()
        names += ("one_step", *(("curvature",) if curved else ())) if count == 1 else ()
        made = score(pipeline, texts, Scoring(SAMPLING, names, seeds, count))
        found |= {(name, count): values for name, values in made.items()}
    return found


def detect_testbed(folder: Path, models: Sequence[str], out: Path, seeds: int, calls: Sequence[int], curved: bool,
                   rule: Rule, limit: int | None = None) -> dict[str, list[Told]]:  # fmt: skip
    """Measure, print, and leave every score in ``detection.json``.

    Args:
        folder: the testbed.
        models: of `base` and `twin`.
        out: where the evidence goes.
        seeds: latents of each caption, and pictures by which triggers are found.
        calls: counts of calls that lengths are the mean over.
        curved: whether to take the curvature too.
        rule: when a picture replicates a planted one.
        limit: captions of each table.
    """
    quiet_libraries()
    captions, told, document = read_captions(folder, limit), dict[str, list[Told]](), dict[str, Any]()
    for name in models:
        pipeline = Checkpoint.open(folder / name).load(torch.float32, pick_device("auto"))
        back = triggers(pipeline, [one.text for one in captions if one.table in ALIKE], folder, seeds, rule)
        scores = score_captions(pipeline, captions, seeds, calls, curved)
        told[name] = [row for key, values in scores.items() for row in tell(captions, values, frozenset(back), key)]
        document[name] = {
            "triggers": back,
            "told": [asdict(row) | {"area": row.area._asdict(), "found": row.found._asdict()} for row in told[name]],
            "scores": {f"{score}, {count}": values.tolist() for (score, count), values in scores.items()},
        }
        _show(name, told[name], seeds)
    out.mkdir(parents=True, exist_ok=True)
    asked = [asdict(caption) for caption in captions]
    (out / "detection.json").write_text(json.dumps({"seeds": seeds, "captions": asked, "models": document}, indent=1))
    return told


def _show(model: str, told: Sequence[Told], seeds: int) -> None:
    table, console = Table(title=f"{model}: memorized captions against others", box=box.SIMPLE_HEAD), Console()
    for heading in ("score", "calls", "against", "AUC", f"found at {FALSE:.0%} false"):
        table.add_column(heading)
    for row in told:
        against = f"{row.against} ({row.captions})"
        area = f"{row.area.value:.3f} [{row.area.low:.2f}–{row.area.high:.2f}]"
        found = f"{row.found.value:.0%} [{100 * row.found.low:.0f}–{100 * row.found.high:.0f}]"
        table.add_row(row.score, str(row.calls), against, area, found)
    console.print(table)
    console.print(
        f"{seeds} seeds; 95 % intervals by training image. Alike: neighbours and never-seen captions, which differ "
        f"from memorized ones by duplication alone; triggers among them bring a planted picture back at one of {seeds} "
        "seeds."
    )
